"""The application: global options, and what becomes of an error.

Errors raised on purpose become one line on stderr and an exit code: 2 for `UsageError` (and typer's own usage errors),
1 for every other one, 130 after Ctrl-C. A traceback is shown only with --debug or EDGELM_DEBUG=1.
"""

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgelm.cli import bench, doctor, eval, export, info, models, run, train
from edgelm.cli.output import warn
from edgelm.errors import EdgelmError, UsageError

__all__ = ["app"]

# typer carried click as a dependency once and inside itself now; either way this is the base of its usage errors.
_CLICK_EXCEPTION: type[Exception] = typer.BadParameter.__mro__[2]
_EXTRA_OF = (
    {"torch": "export", "onnx": "export", "onnx_ir": "export", "onnxsim": "export", "onnxscript": "export"}
    | {
        "onnxruntime": "onnx",
        "ai_edge_litert": "tflite",
        "tflite_runtime": "tflite",
        "rich": "cli",
    }
    | dict.fromkeys(("scipy", "h5py", "pycocotools", "matplotlib"), "train")
)


class _Group(TyperGroup):
    """Applies the policy about errors around every command, also under typer's test runner."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, _CLICK_EXCEPTION, BrokenPipeError):
            raise  # typer's own; it ends a broken pipe quietly
        except KeyboardInterrupt:
            warn("interrupted")
            raise typer.Exit(130) from None
        except Exception as error:
            if _debugging(ctx):
                traceback.print_exc()
            warn(_sentence(error))
            raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


def _debugging(ctx: Any) -> bool:
    return bool(ctx.params.get("debug")) or os.environ.get("EDGELM_DEBUG", "0") not in ("", "0")


def _sentence(error: Exception) -> str:
    """The one line for an error; what was not foreseen is named by its type and points to --debug."""
    if isinstance(error, EdgelmError):
        return " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package in _EXTRA_OF:
            return f'this command needs {package}; install it with: pip install "edgelm[{_EXTRA_OF[package]}]"'
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]} (not foreseen; run again with `edgelm --debug ...` to see where)"


def _version(asked: bool) -> None:
    if asked:
        import edgelm

        typer.echo(f"edgelm {edgelm.__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (also EDGELM_DEBUG=1).")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Landmark networks with 1-bit weights: train, export to one small file, run it on a CPU."""
    del debug, version  # read by _Group and by the callback


for commands in (models, train, eval, export, info, run, bench, doctor):
    commands.register(app)

if __name__ == "__main__":
    sys.exit(app())
