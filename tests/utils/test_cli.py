"""A user's mistake is one line and exit code 2; a signal is one line at any moment; a bug keeps its traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from option.load import OptionError, options_from_command_line
from utils.cli import Stopped, finishing, run
from utils.errors import MissingFileError, UserError

ROOT = Path(__file__).parents[2]


def outcome(main, capsys):
    with pytest.raises(SystemExit) as stop:
        run(main)
    return stop.value.code, capsys.readouterr().err


def raising(error):
    def main(arguments):
        raise error
    return main


def test_exit_codes(capsys):
    assert outcome(lambda arguments: None, capsys) == (0, "")
    assert outcome(lambda arguments: 0, capsys) == (0, "")
    assert outcome(lambda arguments: 3, capsys) == (3, "")
    assert outcome(raising(KeyboardInterrupt()), capsys) == (130, "interrupted\n")
    assert outcome(raising(SystemExit(7)), capsys) == (7, "")


def test_user_mistakes_are_one_line_each(capsys):
    assert outcome(raising(UserError("a is wrong; in b; do c")), capsys) == (2, "error: a is wrong; in b; do c\n")
    assert outcome(raising(MissingFileError("no x")), capsys) == (2, "error: no x\n")
    two = OptionError(["f: a: bad", "f: b: bad"])
    assert outcome(raising(two), capsys) == (2, "error: f: a: bad\nerror: f: b: bad\n")


def test_torchrun_repeats_a_mistake_after_its_own_traceback(capsys, tmp_path, monkeypatch):
    place = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(place))
    outcome(raising(UserError("a is wrong; in b; do c")), capsys)
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=2, error_file=str(place))
    told = str(ChildFailedError("script.py", {0: failure})).splitlines()
    assert told[-2] == "  traceback : error: a is wrong; in b; do c"


def test_bugs_are_not_caught():
    with pytest.raises(ZeroDivisionError):
        run(lambda arguments: 1 // 0)
    with pytest.raises(ValueError, match="a bug"):
        run(raising(ValueError("a bug")))


def test_arguments_are_the_command_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script.py", "-opt", "none.yaml"])
    seen = []
    with pytest.raises(SystemExit):
        run(seen.extend)
    assert seen == ["-opt", "none.yaml"]


def test_a_whole_program_shows_no_traceback(tmp_path):
    program = ("from option.load import options_from_command_line\nfrom utils.cli import run\n"
               "run(lambda argv: print(options_from_command_line(argv, 'A test.').name))")
    file = tmp_path / "IVF.yaml"

    def start(text):
        file.write_text(text)
        return subprocess.run([sys.executable, "-c", program, "-opt", str(file)], cwd=ROOT, capture_output=True,
                              text=True)

    bad = start("name: x\ndataset: {test: {dataroot: d, infrare_nmae: ir}}\n")
    assert bad.returncode == 2 and bad.stdout == ""
    assert bad.stderr == f"error: {file}: dataset.test.infrare_nmae: unknown key (did you mean infrare_name?)\n"
    good = start("name: x\n")
    assert (good.returncode, good.stdout) == (0, "x\n")
    assert options_from_command_line(["-opt", str(file)], "").name == "x"


SIGNALS = [(signal.SIGINT, "interrupted\n"), (signal.SIGTERM, "stopped by SIGTERM\n"),
           (signal.SIGHUP, "stopped by SIGHUP\n")]


def stopped(command, number, **environment):
    """Exit code, standard output and error of a program that gets a signal once it has printed a line."""
    def hear() -> None:
        signal.signal(number, signal.SIG_DFL)  # even if these tests were started with nohup or &

    with subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, env=os.environ | environment, preexec_fn=hear) as process:
        process.stdout.readline()
        process.send_signal(number)
        return (process.wait(60), process.stdout.read(), process.stderr.read())


@pytest.mark.parametrize("command", [["test.py"], ["selftrain.py"], ["selftrain_multimodal.py"], ["-m", "metrics"]])
@pytest.mark.parametrize(("number", "told"), SIGNALS[:2])
def test_a_signal_while_libraries_load_is_one_line(tmp_path, command, number, told):
    for name in ("numpy", "torch"):  # whichever is loaded first
        (tmp_path / f"{name}.py").write_text("import time; print('loading', flush=True); time.sleep(60)")
    assert stopped(command, number, PYTHONPATH=str(tmp_path)) == (128 + number, "", told)


@pytest.mark.parametrize(("number", "told"), SIGNALS)
def test_a_signal_unwinds_the_program(number, told):
    program = ("import time; from utils.cli import run\ndef main(arguments):\n try:\n  print('working', flush=True)\n"
               "  time.sleep(60)\n finally:\n  print('tidied')\nrun(main)")
    assert stopped(["-c", program], number) == (128 + number, "tidied\n", told)


def test_what_nohup_ignores_stays_ignored():
    program = ("import os, signal; from utils.cli import run; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
               "run(lambda arguments: os.kill(os.getpid(), signal.SIGHUP))")
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_results_are_written_before_the_first_signal_counts():
    """The second one counts at once. Afterwards signals are handled as before."""
    done, before = [], signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as caught, finishing():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("written")
    assert done == ["written"] and caught.value.number == signal.SIGTERM
    with pytest.raises(Stopped), finishing():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("too late")
    assert done == ["written"] and signal.getsignal(signal.SIGTERM) is before
