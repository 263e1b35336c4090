"""`edgelm bench`: how fast and how big, measured on this machine."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgelm.atomic import check_output
from edgelm.cli.output import human, print_json, progress, warn, write_json
from edgelm.errors import UsageError

__all__ = ["register", "show"]


def bench(
    models: Annotated[list[Path] | None, typer.Argument(help="Model files; none for the bundled ones.")] = None,
    device: Annotated[str, typer.Option(help="Only cpu exists.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Threads of the engine; 1 pins to one CPU.")] = 1,
    runs: Annotated[int | None, typer.Option(help="Timed runs; by default 100, or as many as 5 s allow.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the JSON to this file.")] = None,
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Keep low-bit weights under two bits each; somewhat slower.")
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="Rivals to measure beside the models, by commas, or all; needs --checkpoint.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Gives the rivals' float twin of the network.")] = None,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Measure kernels on single layers; takes no models.")
    ] = False,
    isa: Annotated[
        str | None, typer.Option(help="Instruction sets for --kernels, by commas; else all but scalar.")
    ] = None,
) -> None:
    """Time model files: load, first run, then crop, network and decode, with percentiles and memory.

    With --against only the network is timed, in turns with the float and int8 forms of it on other
    engines. With --kernels every kernel of this CPU is timed on single layers of the papers' networks, beside the rate
    that its arithmetic reaches on registers alone.
    """
    from edgelm.bench import bench as run_bench

    if output is not None:
        check_output(output)
    if kernels:
        if models or against is not None or checkpoint is not None or threads != 1:
            raise UsageError("--kernels takes no models, no --against and no --checkpoint, and one thread")
        _kernels(isa, runs, as_json, output)
        return
    if isa is not None:
        raise UsageError("--isa goes with --kernels")
    if against is not None or checkpoint is not None:
        _against(models or [], against, checkpoint, threads, runs, as_json, output)
        return
    with human(as_json):
        report = run_bench(
            models or [], device=device, threads=threads, runs=runs, low_memory=low_memory, progress=progress
        )
    if as_json:
        _emulation(report["device"], to_stderr=True)
        print_json(report)
    else:
        show(report)
    for result in report["results"]:
        if result["noisy"] and not report["device"]["emulated"]:
            total = result["stages"]["total"]
            warn(
                f"{result['model']} on {result['engine']}: p90 is {total['p90']:.1f} ms against a p50 of "
                f"{total['p50']:.1f} ms; other work disturbed it, measure again on a calm machine"
            )
    if output is not None:
        write_json(output, report)
        progress(f"wrote {output}")


def _against(
    models: list[Path],
    rivals: str | None,
    checkpoint: Path | None,
    threads: int,
    runs: int | None,
    as_json: bool,
    output: Path | None,
) -> None:
    from edgelm.bench.against import against
    from edgelm.bench.rivals import RIVALS

    if not models or rivals is None or checkpoint is None:
        raise UsageError("--against takes model files and --checkpoint, from which they were exported")
    names = list(RIVALS) if rivals == "all" else rivals.split(",")
    with human(as_json):
        labelled = {path.name: path for path in models}
        report = against(labelled, names, checkpoint, threads=threads, rounds=runs or 40, progress=progress)
    if output is not None:
        write_json(output, report)
    _emulation(report["device"], to_stderr=as_json)
    if as_json:
        print_json(report)
        return
    for result in report["results"]:
        ratios = "  ".join(f"{ratio:.2f}x {rival}" for rival, ratio in result["speedup"].items())
        typer.echo(f"{result['name']:32} {result['median_ms']:8.2f} ms  {ratios}")
    for rival, why in report["unavailable"].items():
        typer.echo(f"{rival:32} {why}")
    if not report["valid"] and not report["device"]["emulated"]:
        warn("other work disturbed the run, measure again on a calm machine")


def _kernels(isa: str | None, runs: int | None, as_json: bool, output: Path | None) -> None:
    from edgelm.bench.kernels import bench_kernels

    with human(as_json):
        report = bench_kernels(
            isas=isa.split(",") if isa else None, rounds=40 if runs is None else runs, progress=progress
        )
    if output is not None:
        write_json(output, report)
    _emulation(report["device"], to_stderr=as_json)
    if as_json:
        print_json(report)
        return
    for peak in report["peaks"]:
        typer.echo(f"{peak['kind']:4} {peak['isa']:8} peak {peak['gmacs']:7.0f} GMAC/s")
    typer.echo(f"{'layer':22} {'precision':9} {'isa':8} {'form':7} {'ms':>9} {'GMAC/s':>7} {'of peak':>8}")
    for row in report["rows"]:
        share = "" if row["peak_share"] is None else f"{row['peak_share']:8.0%}"
        noise = "" if row["valid"] else "  not valid: disturbed"
        typer.echo(
            f"{row['layer']:22} {row['precision']:9} {row['isa']:8} {row['form']:7} {row['median_ms']:9.4f} "
            f"{row['gmacs']:7.0f} {share}{noise}"
        )
    if not report["valid"] and not report["device"]["emulated"]:
        warn("other work disturbed the run, measure again on a calm machine")


def show(report: dict[str, Any]) -> None:
    """Print a report as a table."""
    from rich.console import Console
    from rich.table import Table

    device = report["device"]
    load = " ".join(f"{load:.2f}" for load in device["load_average"])
    machine = f"{device['cpu']} ({device['board']})" if device["board"] else device["cpu"]
    typer.echo(f"edgelm {report['edgelm']} on {machine}, {device['cpus']} CPUs, {device['arch']}, {device['libc']}")
    typer.echo(f"{_setting(device)}, load average {load}; times in ms, sizes in MB")
    for result in report["results"]:
        if result["after"]["throttled"]:
            after = f"after {result['model']} on {result['engine']}"
            typer.echo(f"{after} the firmware tells: {', '.join(result['after']['throttled'])}")
    if device["native"]["slow"]:
        typer.echo(device["native"]["slow"])
    _emulation(device, to_stderr=False)

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", overflow="fold")
    for heading in ("engine", "thr", "load", "first", "stage", "p50", "p90", "p99", "min", "file", "RSS +"):
        table.add_column(heading, justify="left" if heading in ("engine", "stage") else "right", no_wrap=True)
    for result in report["results"]:
        memory = result["memory"]
        growth = memory["peak_rss_growth_bytes"]
        head = [result["model"], result["engine_version"], str(result["threads"])]
        head += [f"{result['load_ms']:.1f}", f"{result['first_ms']:.1f}"]
        tail = [f"{memory['file_bytes'] / 1e6:.2f}", "?" if growth is None else f"{growth / 1e6:.1f}"]
        for stage, times in result["stages"].items():
            row = [stage, *(f"{times[key]:.2f}" for key in ("p50", "p90", "p99", "min"))]
            table.add_row(*head, *row, *tail, style="bold" if stage == "total" else None)
            head, tail = [""] * len(head), [""] * len(tail)
        table.add_section()
    # A pipe has no width of its own, and rich would cut the table to 80 columns.
    console = Console(highlight=False)
    Console(highlight=False, width=None if console.is_terminal else 140).print(table)


def _setting(device: dict[str, Any]) -> str:
    """Governor, clock and temperature, as far as the system tells them."""
    parts = [f"governor {device['governor'] or 'not shown'}"]
    if device["clock_mhz"] and device["clock_max_mhz"]:
        parts.append(f"{device['clock_mhz']} of {device['clock_max_mhz']} MHz")
    if device["temperature_c"] is not None:
        parts.append(f"{device['temperature_c']:.0f} degrees C")
    return ", ".join(parts)


def _emulation(device: dict[str, Any], *, to_stderr: bool) -> None:
    if device["emulated"]:
        typer.echo(f"emulated: times mean nothing (this CPU is made by {device['emulator']})", err=to_stderr)


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command()(bench)
