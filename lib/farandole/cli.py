"""The command line that all jobs share: --config, --set, --help, exit codes, and the error line that comes last."""

import argparse
import os
import re
import sys
from collections.abc import Callable
from importlib.resources.abc import Traversable
from pathlib import Path

from farandole.config.load import Config, describe_keys, load_config
from farandole.config.shipped import shipped
from farandole.errors import ConfigError, FarandoleError
from farandole.log import error_line, say, write_stack

EXIT_CODES = """exit codes: 0 done; 2 bad config or usage; 3 bad or unsafe data, refused;
4 resources missing (slots, GPU, memory, disk, Java); 5 gate not met; 130 interrupted; 1 anything else."""


Job = Callable[[Config], None]
"""Does the work of a job; what it raises becomes the last line on stderr."""


def run_job(name: str, description: str, job: Job, *, quiet: Callable[[], None], program: str = "") -> None:
    """Runs a job as the main program, and ends the process with the exit code that errors.py documents.

    Args:
        name: of the job, for --help and the log file.
        description: one line.
        job: of farandole.pipeline.
        quiet: called before that line, to keep others from printing after it.
        program: how --help calls it; empty: spark-submit jobs/NAME.py.
    """
    parser = _parser(program or f"spark-submit jobs/{name}.py", description)
    sys.exit(_run(name, parser, job, quiet, sys.argv[1:]))


def _run(name: str, parser: argparse.ArgumentParser, job: Job, quiet: Callable[[], None], arguments: list[str]) -> int:
    work: Path | None = None
    try:
        _check_letters(arguments)
        options = parser.parse_args(arguments)
        config = load_config(*_chosen(options))
        work = config.work
        job(config)
        quiet()
        return 0
    except SystemExit as error:  # argparse has printed its help or its complaint
        quiet()
        return int(error.code or 0)
    except BaseException as error:
        quiet()
        if _is_interrupt(error):
            say("error[130]: interrupted; run the same command again to continue")
            return 130
        if work is not None and not _is_usage(error):
            path = write_stack(error, work / "logs", name)
            say(f"the stack is in {path}" if path else "the stack could not be written")
        say(error_line(error))
        return error.exit_code if isinstance(error, FarandoleError) else 1


def _check_letters(arguments: list[str]) -> None:
    """Refuses arguments whose letters spark-submit's JVM has lost: two question marks or more for each."""
    name = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "C")
    lost = [argument for argument in arguments if "??" in argument]
    if "PYSPARK_GATEWAY_PORT" in os.environ and name in ("C", "POSIX") and lost:
        raise ConfigError(
            f"in the locale {name} Java turns letters beyond ASCII into question marks; received {lost[0]!r}; "
            f"set LC_ALL=C.UTF-8"
        )


def _chosen(options: argparse.Namespace) -> tuple[Traversable | str | None, list[str]]:
    """What load_config is given: the demo's settings are for the demo's data, and not for anybody's own."""
    if options.config is not None:  # --config "$UNSET" is a mistake, and no wish for the demo
        say(f"config: {options.config}")
        return options.config, options.set
    if any(re.match(r"\s*data\.source\s*=", override) for override in options.set):
        say("config: the defaults that --help prints, as --set names a data.source and there is no --config")
        return None, options.set
    say("config: conf/digits.toml, the demo, as there is no --config")
    return shipped("digits.toml"), options.set


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether it is Ctrl-C, or came up on its way out: PySpark calls the JVM then, and may get no answer."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _is_usage(error: BaseException) -> bool:
    """Whether the message says it all, so that a stack would only be litter."""
    return isinstance(error, FarandoleError) and error.exit_code in (2, 4, 5) and error.__cause__ is None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        say(self.format_usage().strip())
        say(f"error[2]: {message}; see --help")
        raise SystemExit(2)


def _parser(program: str, description: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description=description,
        epilog=f"{EXIT_CODES}\n\nconfig keys, their defaults and meanings:\n{describe_keys()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file; without it conf/digits.toml, or the defaults below where --set names a data.source",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one key; may be repeated"
    )
    return parser
