"""A mistake in an option file is one line that names file, key, what is wrong and what was meant."""

import pytest
import yaml

from option.load import (
    OptionError,
    dump_options,
    load_options,
    options_from_command_line,
    options_hash,
)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes ``run.yaml`` into the working directory, so that messages start with that name."""
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
        return "run.yaml"

    return write


def complaints(path, *overrides, device=None):
    with pytest.raises(OptionError) as error:
        load_options(path, overrides, device)
    assert str(error.value).splitlines() == list(error.value.problems)
    return list(error.value.problems)


TEST = "name: x\ndataset:\n  test:\n    dataroot: d\n"


@pytest.mark.parametrize("text, line", [
    (TEST + "    infrare_nmae: ir\n", "dataset.test.infrare_nmae: unknown key (did you mean infrare_name?)"),
    (TEST + "    imgsize: 3\n", "dataset.test.imgsize: unknown key (did you mean img_size?)"),
    (TEST + "    img_size: 3\n    image_size: 3\n",
     "dataset.test.image_size: second name of a key that is given already; keep one of the two"),
    (TEST + "    part_name: a\n    input_name: b\n",
     "dataset.test: part_name 'a' and input_name 'b' are two names of one key; keep one"),
    (TEST + "    datashell: VIF\n", "dataset.test.datashell: should be 'IVF', 'MEF' or 'MFF', got 'VIF'"),
    ("name: x\ndatasets: {}\n", "datasets: unknown key (did you mean dataset?)"),
    ("name: x\nlr_gamma: 1\n", "lr_gamma: unknown key (did you mean train.lr_gamma?)"),
    ("name: x\nlogger: {qqq: 1}\n", "logger.qqq: unknown key (known here: keep_checkpoints, print_freq, "
                                   "save_checkpoint_freq, save_checkpoint_minutes)"),
    ("{}", "name: missing; give it a value"),
    ("", "name: missing; give it a value"),
    ("name: true\n", "name: should be text, got true"),
    (f"name: {'é' * 101}\n", "name: should be the name of a folder, 200 bytes or less, got 202"),
    ("name: a/b\n", "name: should be the name of a folder, without slashes, got 'a/b'"),
    ("name: x\ndataset: {test: {}}\n", "dataset.test.dataroot: missing; give it a value"),
    ("name: x\ntrain: {lr: fast}\n", "train.lr: should be a number, got 'fast'"),
    ("name: x\ntrain: {lr: 0}\n", "train.lr: should be greater than 0, got 0"),
    ("name: x\ntrain: {lr: .nan}\n", "train.lr: should be a finite number, got nan"),
    ("name: x\ntrain: {lr: }\n", "train.lr: should be a number, got nothing"),
    ("name: x\ntrain: {epoch: true}\n", "train.epoch: should be a whole number, got true"),
    ("name: x\ntrain: {epoch: 2.5}\n", "train.epoch: should be a whole number, got 2.5"),
    ("name: x\ntrain: {epoch: 0}\n", "train.epoch: should be 1 or more, got 0"),
    ("name: x\ntrain: {ema: 1}\n", "train.ema: should be less than 1, got 1"),
    ("name: x\ntrain: {amp: fp16}\n", "train.amp: should be 'auto', 'off' or 'bf16', got 'fp16'"),
    ("name: x\ntrain: {lr_steps: 5}\n", "train.lr_steps: should be a list, got 5"),
    ("name: x\ntrain: {lr_steps: [5, a]}\n", "train.lr_steps[1]: should be a whole number, got 'a'"),
    ("name: x\ntrain: {lr_steps: [5, 3]}\n", "train.lr_steps: should be rising epochs from 1, got [5, 3]"),
    ("name: x\ntrain: 5\n", "train: should be a section of keys, got 5"),
    ("name: x\nuse_tb_logger: maybe\n", "use_tb_logger: should be true or false, got 'maybe'"),
    ("name: x\ndevice: gpu\n", "device: should be auto, cpu, cuda, cuda:1, mps or xpu, got 'gpu'"),
    ("name: x\nmetrics: 5\n", "metrics: should be common, all, none or a list of metric names, got 5"),
    ("name: x\ntile: {size: 100}\n", "tile.size: should be a multiple of 16, got 100"),
    ("name: x\ntile: {size: 64, overlap: 64}\n", "tile: overlap 64 should be smaller than size 64"),
    ("name: x\nsynthesis: {scenarios: {noise: -1}}\n",
     "synthesis.scenarios: shares should be 0 or more and not all 0, got {'noise': -1.0}"),
    ("name: x\npath: {experiments_root: }\n", "path.experiments_root: should be text, got nothing"),
    ("name: x\nname: y\n", "line 2: the key name is given twice (first on line 1)"),
    ("name: x\ntrain:\n  lr: 1\n  epoch: 2\n  lr: 3\n", "line 5: the key lr is given twice (first on line 3)"),
    ("name: [x\n", "line 2: expected ',' or ']', but got '<stream end>'"),
    ("name: x\n\tlr: 1\n", "line 2: found character '\\t' that cannot start any token"),
    ("- x\n", "should hold `key: value` lines, got list"),
    ("name: x\ntrain: {lr: !!python/name:os.system }\n",
     "line 2: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'"),
])
def test_each_mistake_has_its_line(write, text, line):
    assert complaints(write(text)) == [f"run.yaml: {line}"]


def test_all_mistakes_are_listed(write):
    path = write("train: {lr: fast, epochs: 3}\nsav: {}\n")
    assert complaints(path) == [
        "run.yaml: name: missing; give it a value",
        "run.yaml: train.lr: should be a number, got 'fast'",
        "run.yaml: train.epochs: unknown key (did you mean epoch?)",
        "run.yaml: sav: unknown key (did you mean save?)",
    ]


def test_files_that_cannot_be_read(write, tmp_path):
    assert complaints("none.yaml") == ["none.yaml: no such option file; give one with -opt FILE"]
    assert complaints(str(tmp_path)) == [f"{tmp_path}: cannot be read as an option file: Is a directory"]
    (tmp_path / "latin.yaml").write_bytes("name: Lübeck".encode("latin-1"))
    assert complaints("latin.yaml") == ["latin.yaml: cannot be read as an option file: not UTF-8 text"]


def test_set_reads_its_value_as_yaml(write):
    options = load_options(write("name: x\ntrain: {lr: 1}\nlogger:\n"), [
        "train.lr=1e-4", "train.lr_steps=[5, 8]", "save.components=false", "path.resume_state=latest",
        "logger.save_checkpoint_minutes=5", "train.max_grad_norm=null", "train.amp=off", "metrics=EN,SD",
        "dataset.test={dataroot: d}", "network_G.deep.er=1", "name=a=b", "train.epoch=7", "train.epoch=8"])
    assert (options.train.lr, options.train.lr_steps, options.save.components) == (1e-4, (5, 8), False)
    assert options.path.resume_state == "latest" and options.logger.save_checkpoint_minutes == 5.0
    assert options.train.max_grad_norm is None and options.train.amp == "off"
    assert options.metrics == ("EN", "SD") and options.dataset.test.dataroot == "d"
    assert options.network_G.arguments() == {"deep": {"er": 1}} and options.name == "a=b"
    assert options.train.epoch == 8


def test_text_is_taken_as_it_is(write):
    """Folders called by a date, a number or with YAML's own signs, in the file and on the command line."""
    path = write("name: 2024\nmodel: &m 1e4\ndataset:\n  test: {dataroot: 20240101, part_name: 001, ir_range: full}\n"
                 "  train: {dataroot: 1_000, filter: 2.50, samples: 1_000}\npath: {results_root: *m}\n")
    options = load_options(path)
    test, train = options.dataset.test, options.dataset.train
    assert (options.name, options.model, options.path.results_root) == ("2024", "1e4", "1e4")
    assert (test.dataroot, test.part_name) == ("20240101", "001")
    assert (train.dataroot, train.filter, train.samples) == ("1_000", "2.50", 1000)
    options = load_options(path, [
        "dataset.test.dataroot=/x/My Data #2", "name=20240101", "path.results_root=[a]: {b",
        "dataset.train={dataroot: 1e5}", "path.resume_state=null", "path.pretrain_model_G='null'", "model=12"])
    assert options.dataset.test.dataroot == "/x/My Data #2" and options.name == "20240101" and options.model == "12"
    assert options.path.results_root == "[a]: {b" and options.dataset.train.dataroot == "1e5"
    assert options.path.resume_state is None and options.path.pretrain_model_G == "null"
    assert load_options(path, ["dataset.train.filter=*.jpg"]).dataset.train.filter == "*.jpg"
    assert complaints(path, "name=") == ["--set: name: should be text, got nothing"]


def test_mistakes_in_set_and_device_are_laid_to_them(write):
    path = write("name: x\n")
    assert complaints(path, "train.lr=fast") == ["--set: train.lr: should be a number, got 'fast'"]
    assert complaints(path, "train.lrr=1") == ["--set: train.lrr: unknown key (did you mean lr?)"]
    assert complaints(path, "trian.lr=1") == ["--set: trian: unknown key (did you mean train?)"]
    assert complaints(path, "dataset.test.workers=1") == ["--set: dataset.test.dataroot: missing; give it a value"]
    both = write("name: x\ntrain: {epoch: 0}\n")
    assert complaints(both, "train.lr=0") == ["--set: train.lr: should be greater than 0, got 0",
                                              "run.yaml: train.epoch: should be 1 or more, got 0"]
    path = write("name: x\n")
    assert complaints(path, "train.lr_steps=[a]") == [
        "--set: train.lr_steps[0]: should be a whole number, got 'a'"]
    assert complaints(path, device="gpu") == [
        "--device: device: should be auto, cpu, cuda, cuda:1, mps or xpu, got 'gpu'"]
    assert complaints(path, "lr") == ["--set lr: should look like key=value or section.key=value"]
    assert complaints(path, "a..b=1") == ["--set a..b=1: should look like key=value or section.key=value"]
    assert complaints(path, "train.lr=[") == [
        "--set train.lr=[: line 1: expected the node content, but found '<stream end>'"]
    assert complaints(path, "name.first=1") == ["--set name.first: name is not a section, it is 'x'"]


def test_paths_expand_home_and_environment(write, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/mnt/data")
    options = load_options(write(
        "name: $DATA\ndataset:\n  train: {dataroot: ~/photos, train_name: '${DATA}2', filter: '$*.jpg'}\n"
        "  test: {dataroot: $DATA/x, infrare_name: ir/, visible_name: a$$b}\n"
        "path: {resume_state: runs/../a.pth}\n"))
    train, test = options.dataset.train, options.dataset.test
    assert (train.dataroot, train.train_name) == ("/home/me/photos", "/mnt/data2")
    assert (test.dataroot, test.infrare_name, test.visible_name) == ("/mnt/data/x", "ir/", "a$b")
    assert options.path.resume_state == "runs/../a.pth", "relative paths stay as they are"
    assert (options.name, train.filter) == ("$DATA", "$*.jpg"), "only paths are expanded"


def test_an_undefined_variable_is_an_error(write, monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    for text in ("$NOWHERE/x", "${NOWHERE}/x"):
        assert complaints(write(TEST.replace("dataroot: d", f"dataroot: {text}"))) == [
            f"run.yaml: dataset.test.dataroot: the environment variable NOWHERE is not set, got '{text}'; "
            "set it or write the path out ($$ stands for a dollar sign)"]


def test_yaml_is_read_by_its_version_1_2(write):
    options = load_options(write(
        "name: no\ntrain: {lr: 4e-4, amp: off, beta1: .5, epoch: +3}\nnetwork_G: {a: 010, b: 1:30, c: 2024-01-01,"
        " d: yes, e: 1e3, f: ~, g: 0, h: -1.5, i: true, 7: 8}\n"))
    assert options.name == "no" and options.train.amp == "off"
    assert (options.train.lr, options.train.beta1, options.train.epoch) == (4e-4, 0.5, 3)
    assert options.network_G.arguments() == {"a": "010", "b": "1:30", "c": "2024-01-01", "d": "yes", "e": 1000.0,
                                             "f": None, "g": 0, "h": -1.5, "i": True, "7": 8}


def test_yaml_anchors_and_merges_work(write):
    options = load_options(write("name: x\ndataset:\n  val: &pairs {dataroot: d, workers: 3}\n"
                                 "  test:\n    <<: *pairs\n    workers: 5\n"))
    assert (options.dataset.val.workers, options.dataset.test.workers) == (3, 5)
    assert options.dataset.test.dataroot == "d"


def test_command_line(write, capsys):
    path = write("name: x\n")
    for flag in ("-opt", "--opt"):
        options = options_from_command_line([flag, path, "--set", "train.lr=1", "--set", "train.epoch=2",
                                             "--device", "cpu"], "Trains.")
        assert (options.train.lr, options.train.epoch, options.device) == (1.0, 2, "cpu")
    for argv in ([], ["-opt", path, "--sett", "a=1"], ["-opt", path, "more"]):
        with pytest.raises(SystemExit) as stop:
            options_from_command_line(argv, "Trains.")
        assert stop.value.code == 2
    capsys.readouterr()


def test_dumped_options_load_to_the_same(write, tmp_path):
    path = write(TEST + "    infrare_name: a$$b\nnetwork_G: {depth: 3}\nmetrics: [EN]\n")
    options = load_options(path, ["train.lr=2"])
    dump_options(options, tmp_path / "kept" / "options.yaml")
    again = load_options(tmp_path / "kept" / "options.yaml")
    assert again.model_dump() == options.model_dump()
    assert options_hash(again) == options_hash(options)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["options.yaml"], "nothing left beside it"
    assert yaml.safe_load((tmp_path / "kept" / "options.yaml").read_text())["train"]["lr"] == 2.0


def test_the_hash_sees_settings_and_not_where_they_run(write):
    path = write("name: x\n")
    plain = options_hash(load_options(path))
    assert plain == options_hash(load_options(path, ["train.lr=4e-4"], "cpu")), "defaults written out are the same"
    assert plain == options_hash(load_options(path, ["path.resume_state=latest"]))
    assert plain != options_hash(load_options(path, ["train.lr=4.1e-4"]))
    assert plain != options_hash(load_options(path, ["network_G.depth=3"]))
    assert len(plain) == 12


def test_options_are_frozen(write):
    options = load_options(write("name: x\n"))
    with pytest.raises(ValueError, match="frozen"):
        options.train.lr = 1.0


def test_at_and_require_name_the_place(write):
    options = load_options(write("name: x\n"), ["train.loss=L"], "cpu")
    assert options.at("model") == "run.yaml: model"
    assert options.at("train.loss") == "--set: train.loss"
    assert options.at("device") == "--device: device"
    assert options.require("train.loss") == "L"
    for key in ("dataset.test", "dataset.test.dataroot"):
        with pytest.raises(OptionError) as error:
            options.require(key)
        assert str(error.value) == f"run.yaml: {key}: missing; this script needs it"


def test_programs_are_allowed_on_the_command_line_alone(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("name: x\ndataset: {train: {dataroot: a, allow_programs: true}}\n")
    for overrides in ([], ["dataset.train.samples=3"]):
        with pytest.raises(OptionError, match=r"yaml: dataset\.train\.allow_programs: may be set on the command line"):
            load_options(path, overrides)
    assert load_options(path, ["dataset.train.allow_programs=true"]).dataset.train.allow_programs
    assert not load_options(path, ["dataset.train.allow_programs=false"]).dataset.train.allow_programs


def test_shipped_files_are_found_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_options("option/train/HighRes.yaml", ["dataset.train.dataroot=x"]).name
    (tmp_path / "option" / "train").mkdir(parents=True)
    (tmp_path / "option" / "train" / "HighRes.yaml").write_text("name: mine\n")
    assert load_options("option/train/HighRes.yaml").name == "mine"
    assert complaints("option/train/None.yaml") == ["option/train/None.yaml: no such option file; give one with "
                                                    "-opt FILE"]
