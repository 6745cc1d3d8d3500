"""The commands of an application on top of LightningCLI.

Added to it: recipes by name, `best` and `last` as checkpoints of the newest run of a recipe, checkpoints that bring
their own configuration, `evaluate`, `predict` with files in and out, one folder a run, and errors of one sentence.
"""

__all__ = ["Application", "Parser", "Runner", "run"]

import json
import logging
import os
import re
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from core.errors import UserError, nearest
from core.training import recipes
from core.training.callbacks import Announce, Checkpoints, CurveLogger, EpochLines, GoOn, WholeFiles, watching
from core.training.files import latest_run, new_run, refuse_existing
from core.training.task import Evaluation, Task

ROOT = Path("runs")
SECTIONS = ("seed_everything", "model", "data", "trainer")


@dataclass(frozen=True)
class Application:
    """What an application's `cli.py` hands to `run`.

    Args:
        domain: its name on the command line.
        task, data: the classes that Lightning's commands work with.
        evaluate: (task, trainer, data module, checkpoint) -> what is printed and written.
        predict: (task, trainer, data module, checkpoint, out) writes a user's files.
    """

    domain: str
    task: type[Task]
    data: type[pl.LightningDataModule]
    evaluate: Callable[[Any, pl.Trainer, Any, str | None], Evaluation]
    predict: Callable[[Any, pl.Trainer, Any, str | None, Path], None]


class Runner(pl.Trainer):
    """Lightning's trainer with two more commands, which the application defines."""

    application: Application
    overwrite = False
    data: pl.LightningDataModule | None = None

    def evaluate(self, model: Task, datamodule: pl.LightningDataModule, ckpt_path: str | None = None) -> None:
        """Tables and report by the published protocol, baselines in the same table.

        Args:
            model: the task.
            datamodule: its data.
            ckpt_path: best, last or a file.
        """
        from core.training.results import publish

        self.data = datamodule
        evaluation = self.application.evaluate(model, self, datamodule, ckpt_path)
        # All processes ask for the folder: the first one sends it to the others.
        folder = Path(self.log_dir or ".")
        if self.is_global_zero:
            publish(evaluation, folder, model, self)

    def predict(  # type: ignore[override]  # files in and out; Lightning's own is `forecasts`
        self,
        model: Task,
        datamodule: pl.LightningDataModule,
        ckpt_path: str | None = None,
        out: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Your own files in, your own files out.

        Args:
            model: the task.
            datamodule: its data.
            ckpt_path: best, last or a file.
            out: file to write (a folder for several inputs).
            overwrite: replace it if it exists.
        """
        if out is None:
            raise UserError("predict needs --out, the file to write.")
        self.overwrite = overwrite
        refuse_existing(out, overwrite or Path(out).is_dir())  # what is in a folder, the application looks at
        self.application.predict(model, self, datamodule, ckpt_path, Path(out))

    def forecasts(
        self, model: pl.LightningModule, loaders: Any, ckpt_path: str | None = None, keep: bool = True
    ) -> list:
        """What `predict_step` returns, batch by batch (Lightning's own predict); nothing is kept without `keep`."""
        return super().predict(model, dataloaders=loaders, ckpt_path=ckpt_path, return_predictions=keep) or []


class Parser(LightningArgumentParser):
    """Errors as one sentence instead of the usage and the reasons of every type that did not fit.

    Options are written out: an abbreviation that is taken silently is a typo that trains the wrong thing.

    Attributes:
        words: what was typed, to name options as the user knows them.
    """

    words: ClassVar[list[str]] = []

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if os.environ.get("JSONARGPARSE_DEBUG"):
            super().error(message, ex)
        raise UserError(self.sentence(message))

    def sentence(self, message: str) -> str:
        """The last cause in jsonargparse's explanation, with the option as it was typed in front."""
        text = str(message).strip()
        if match := re.search(r"[Uu]nrecognized arguments: (.*)", text):
            word = match.group(1).split()[0].split("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
            return f"{word}: there is no such option.{nearest(word, known)}"
        if match := re.search(r"(?:Option|Key|key) ['\"]([^'\"]+)['\"] is not accepted", text):
            return f"{self._typed(match.group(1))}: there is no such option."
        key = re.search(r'(?:Parser key|Key|key) "([^"]+)"', text)
        option = f"{self._typed(key.group(1))}: " if key else ""
        if match := re.search(r"Expected a dot import path string: (\S+)", text):
            names = [sub.__name__ for base in re.findall(r"<class '([\w.]+)'>", text) for sub in _subclasses(base)]
            return (
                f"{option}{match.group(1)} is not the name of a class that fits here.{nearest(match.group(1), names)}"
            )
        lines = [line.strip(" -") for line in text.splitlines() if line.strip(" -")]
        causes = [line for line in lines if not line.startswith(("Problem with given class_path", "Does not validate"))]
        cause = (causes or lines)[-1].rstrip(".") if lines else "bad arguments"
        return option + re.sub(r"^(Parser key|Key) \"[^\"]+\":\s*", "", cause) + "."

    def _typed(self, key: str) -> str:
        """The option a key belongs to: nested parsers know only the end of its name."""
        typed = [word.split("=")[0] for word in self.words if word.split("=")[0].endswith(f".{key}")]
        return typed[-1] if typed else f"--{key}"


def _subclasses(path: str) -> list[type]:
    """All imported subclasses of a class named by its import path."""
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    todo, made = ([found] if isinstance(found, type) else []), []
    while todo:
        children: list[type] = type.__subclasses__(todo.pop())
        made += children
        todo += children
    return made


class Command(LightningCLI):
    """One command of one application; see `run`."""

    def __init__(
        self, *args: Any, application: Application, name: str, folder: Path | None, command: str, **kwargs: Any
    ):
        self.application = application
        self.name, self.folder, self.line = name, folder, command
        self.trainer: Runner
        super().__init__(*args, **kwargs)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        commands = LightningCLI.subcommands()
        commands["predict"] = {"model", "datamodule"}
        commands["evaluate"] = {"model", "datamodule"}
        return commands

    def _parse_ckpt_path(self) -> None:
        """Ours are read before parsing, in `run`."""

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self.config[self.subcommand]
        self.model.command, self.model.checkpoint = self.line, config.get("ckpt_path")
        if self.folder is None and self.subcommand != "predict":
            # Other ranks write nothing and are told the folder of the first.
            self.folder = ROOT / self.name / "rank" if _rank() else new_run(ROOT, self.name)
        self.model.config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self.subcommand]
        self.model.config = {k: v for k, v in self.model.config.items() if k in SECTIONS}
        extra: list[pl.Callback] = [Announce(config.get("seed_everything")), GoOn()]
        if self.subcommand == "fit" and self.folder is not None:
            extra.append(Checkpoints(self.folder, self.model.monitor, self.model.mode))
        if not watching():
            kwargs["enable_progress_bar"] = False
            extra.append(EpochLines())
        else:
            extra.append(RichProgressBar(leave=False))
        if self.folder is not None:
            kwargs["logger"] = [CurveLogger(self.folder), *_tensorboard(self.folder)]
        else:
            kwargs["logger"] = False
        config = {**self._get(self.config_init, "trainer", default={}), **kwargs}
        config["plugins"] = [*_listed(config.get("plugins")), WholeFiles()]
        if self.subcommand != "fit":
            config["enable_checkpointing"] = False
            self.save_config_callback = None
        trainer = cast(Runner, self._instantiate_trainer(config, extra))
        trainer.application = self.application
        return trainer


def _listed(value: Any) -> list:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _rank() -> int:
    """This process among those started together, before Lightning has set them up."""
    return int(next((os.environ[k] for k in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if k in os.environ), 0))


def _tensorboard(folder: Path) -> list:
    try:
        import tensorboard  # noqa: F401
        from lightning.pytorch.loggers import TensorBoardLogger
    except ImportError:
        return []
    return [TensorBoardLogger(folder, name="", version="tensorboard")]


def run(application: Application, arguments: list[str]) -> int:
    """Runs `fit`, `validate`, `test`, `evaluate` or `predict`; the exit code."""
    quiet()
    Parser.words = arguments
    command, rest = arguments[0], arguments[1:]
    names, checkpoint, rest = _taken_out(rest)
    name = Path(names[0]).stem if names else command
    folder = None
    configs = [recipes.find(n, application.domain) for n in names]
    with tempfile.TemporaryDirectory() as scratch:
        if not (
            {"-h", "--help", "--print_config"} & {a.split("=")[0] for a in rest}
            or any(a.endswith(".help") or ".help=" in a for a in rest)
        ):
            folder, checkpoint, configs = _place(command, name, checkpoint, configs, Path(scratch))
        words = [f"--config={path}" for path in configs] + rest
        if checkpoint is not None:
            words.append(f"--ckpt_path={checkpoint}")
        line = shlex.join(["omnimix", application.domain, *arguments])
        try:
            cli = _command(application, [command, *words], name, folder, line)
        except SystemExit as end:
            # Lightning turns Ctrl-C into an ordinary failure.
            return 130 if isinstance(end.__context__, KeyboardInterrupt) else int(end.code or 0)
        except ValueError as error:
            # jsonargparse packs what a constructor says among the reasons of the other types that an option may have.
            if isinstance(error.__cause__, UserError):
                raise error.__cause__ from None
            raise
    trainer = cli.trainer
    if command == "fit" and trainer.state.finished and not getattr(trainer, "fast_dev_run", False):
        best = trainer.checkpoint_callback
        path = getattr(best, "best_model_path", "") or getattr(best, "last_model_path", "")
        if trainer.is_global_zero:
            print(f"trained; {path} holds the best epoch", flush=True)
        trainer.evaluate(cli.model, cli.datamodule, path or None)
    return 0


def _command(application: Application, words: list[str], name: str, folder: Path | None, line: str) -> Command:
    return Command(
        application.task,
        application.data,
        args=words,
        application=application,
        name=name,
        folder=folder,
        command=line,
        parser_class=Parser,
        trainer_class=Runner,
        trainer_defaults={"enable_model_summary": False, "num_sanity_val_steps": 0},
        seed_everything_default=0,
        save_config_callback=SaveConfigCallback,
        save_config_kwargs={"overwrite": True},
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        parser_kwargs={"prog": f"omnimix {application.domain}"},
    )


FILES = "--data.files"


def _taken_out(words: list[str]) -> tuple[list[str], str | None, list[str]]:
    """The values of --config and --ckpt_path, and all other words; several after --data.files become one list."""
    names, checkpoint, rest = [], None, []
    words = list(words)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if option == FILES:
            files = [value] if equals else []
            while words and not words[0].startswith("--"):
                files.append(words.pop(0))
            if not files:
                raise UserError(f"{FILES}: name at least one file or folder.")
            rest.append(f"{FILES}={files[0] if files[0].startswith('[') else json.dumps(files)}")
            continue
        if option not in ("--config", "-c", "--ckpt_path"):
            rest.append(word)
            continue
        if not equals:
            if not words:
                raise UserError(f"{option}: a value is missing.")
            value = words.pop(0)
        if option == "--ckpt_path":
            checkpoint = value
        else:
            names.append(value)
    return names, checkpoint, rest


def _place(
    command: str, name: str, checkpoint: str | None, configs: list[Path], scratch: Path
) -> tuple[Path | None, str | None, list[Path]]:
    """The run's folder, the checkpoint's file and the configurations to parse.

    `best` and `last` belong to the newest run of the recipe, and so does its configuration.  A checkpoint file brings
    its own where none is given, and its model section otherwise: nothing else fits its weights.
    """
    if command != "fit" and checkpoint is None:
        raise UserError(f"{command} needs --ckpt_path: best, last or a file.")
    if checkpoint is None:
        return None, None, configs
    own = checkpoint in ("best", "last")
    folder = None
    if own:
        folder = latest_run(ROOT, name, checkpoint)
        if folder is None:
            if command == "fit":  # so that a restartable job may always say --ckpt_path last
                return None, None, configs
            raise UserError(f"--ckpt_path {checkpoint}: no run of {name} under {ROOT} has one; fit first.")
        path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    else:
        path = Path(checkpoint)
        if not path.is_file():
            raise UserError(f"--ckpt_path {path}: there is no such file; give best, last or a path.")
    if command == "fit":
        return folder, str(path), configs
    config = _config_in(path)
    if not own and configs:
        config = {"model": config["model"]}
    stored = scratch / "checkpoint.yaml"
    stored.write_text(yaml.safe_dump(config))
    return folder, str(path), [stored] if own else [*configs, stored]


def _config_in(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return {k: v for k, v in content["omnimix"]["config"].items() if k in ("seed_everything", "model", "data")}
    except KeyError:
        raise UserError(
            f"{path}: was not written by omnimix fit; release files are checked by omnimix verify."
        ) from None
    except Exception as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(f"{path}: not a readable checkpoint ({reason}); was it copied whole?") from None


def quiet() -> None:
    """Lightning's tips and its log lines that repeat what ours say; warnings a user can act on stay."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*LightningCLI's args parameter is intended.*",
        ".*Consider installing `litlogger`.*",
        ".*`isinstance\\(treespec, LeafSpec\\)`.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*is smaller than the logging interval.*",
        ".*Using `json`-module for json-handling.*",
        ".*JsonargparseDeprecation.*",
        ".*callbacks used to create the checkpoint need to be provided.*",
    ):
        warnings.filterwarnings("ignore", text)
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
