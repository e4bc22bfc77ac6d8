"""What we do in the kernel: links, routes, namespaces, nf_tables."""
