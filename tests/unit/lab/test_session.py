from calico.lab.plan import hosts
from calico.lab.register import Lab
from calico.lab.session import environment


def test_program_in_a_lab_sees_the_labs_datastore_only() -> None:
    (host,) = hosts(1)
    lab = Lab("lab", 1, pid=1, started=1, boot="boot", space=1)
    given = {"ETCD_ENDPOINTS": "http://x:1", "CALICO_DATA_DIR": "/y", "TERM": "xterm"}
    seen = {
        "TERM": "xterm",
        "CALICO_LAB": "lab",
        "HOSTNAME": "host1",
        "CALICO_DATA_DIR": "/run/lab/data",
        "CALICO_RUN_DIR": "/run/lab/host1/run",
        "CALICO_LOG_DIR": "/run/lab/host1/log",
    }
    assert environment(given, lab, host) == seen
    with_etcd = Lab("lab", 1, pid=1, started=1, boot="boot", space=1, has_etcd=True)
    own = {"ETCD_ENDPOINTS": "http://172.31.0.253:2379"}
    assert environment(given, with_etcd, host) == seen | own
