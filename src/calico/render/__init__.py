"""Print the intermediate representation as nftables objects; decide nothing."""
