"""`make demo`: the whole tutorial, in a lab that ends with it."""

import shutil
import signal

import pytest
from lab_user import NOBODY, PYTHON, lab_user, until

pytestmark = pytest.mark.system

DEMO = (PYTHON, "-P", "-m", "calico.lab.demo")


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_every_probe_of_the_tutorial_goes_as_promised(uid: int) -> None:
    with lab_user(uid) as user:
        ended = user.run(*DEMO)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "everything went as the tutorials promise" in ended.stdout
        assert "$ ./calicoctl profile APP rule update < APP-rules.json" in ended.stdout
        assert "\033" not in ended.stdout
        assert ended.stdout.isascii()


def test_probe_that_differs_from_the_promise_fails_the_demo() -> None:
    planted = (
        "from dataclasses import replace; import calico.lab.demo as d;"
        "first, second, third = d.POLICY.steps[:3];"
        "told = replace(second.commands[1], output='Inbound rules:');"
        "second = replace(second, commands=(second.commands[0], told));"
        "third = replace(third, promise={'web': {}});"
        "d.TUTORIALS = (replace(d.POLICY, steps=(first, second, third)),);"
        "raise SystemExit(d.main())"
    )
    with lab_user(0) as user:
        ended = user.run(PYTHON, "-P", "-c", planted)
    assert ended.returncode == 1
    assert "9 differences from the tutorials:" in ended.stdout
    assert "rule show` does not print what the tutorial prints" in ended.stdout
    lines = [each for each in ended.stdout.splitlines() if "step 3: web2" in each]
    assert len(lines) == 8
    assert lines[0].endswith(
        "web2 to web, tcp 80, IPv4: expected denied, found allowed"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_demo_leaves_nothing(number: signal.Signals) -> None:
    with lab_user(0) as user:
        running = user.start(*DEMO)
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("$"):
                break
        running.send_signal(number)
        running.communicate()
        assert running.returncode == (130 if number is signal.SIGINT else 143)
        assert user.left_behind() == ""


def test_demo_whose_reader_has_gone_ends_quietly() -> None:
    with lab_user(0) as user:
        running = user.start(*DEMO)
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("$"):
                break
        running.stdout.close()
        assert running.stderr is not None
        assert running.stderr.read() == ""
        running.stderr.close()
        assert running.wait(60) == 0
        assert user.left_behind() == ""


def test_killed_demo_leaves_no_process() -> None:
    with lab_user(0) as user:
        running = user.start(*DEMO)
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("$"):
                break
        running.kill()
        running.communicate()
        assert until(lambda: not user.running())
        # The directory that the commands were typed in is all that stays.
        for path in user.directory.glob("calico-demo-*"):
            shutil.rmtree(path)
