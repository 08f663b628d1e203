"""What a run would take on more and more devices, printed by the plan: plan=true devices=[1,8,64] sharding=zero3"""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from latro.errors import InputError
from latro.hardware import Hardware
from latro.planning import ModelSizes, Work
from latro.scaling import Links, Share, same_batch, share

COLUMNS = ("GPUs", "prompts a step", "GiB each", "GB moved", "sampling s", "update s", "step s", "prompts/s")


def shares(
    model: ModelSizes,
    hardware: Hardware,
    work: Work,
    longest: int,
    devices: Sequence[int],
    sharding: str,
    *,
    prompts: int | None = None,
    links: Links | None = None,
) -> list[Share]:
    """A row for each number of devices: each with the work of one process, or sharing a step of `prompts`."""
    for number in devices:
        if not isinstance(number, int) or number < 1:
            raise InputError(
                f"devices={list(devices)}: give whole numbers of at least 1, as devices=[1,8,64]"
            )
    return [
        share(
            model,
            work if prompts is None else same_batch(work, prompts, number),
            longest,
            hardware,
            number,
            sharding,
            links or Links(),
        )
        for number in devices
    ]


def cells(row: Share) -> tuple[str, ...]:
    """The row's figures as they are printed."""
    return (
        str(row.devices),
        str(row.prompts),
        f"{row.memory / 2**30:.0f}",
        f"{row.moved / 1e9:.0f}",
        f"{row.sampling:.1f}",
        f"{row.update:.1f}",
        f"{row.step:.1f}",
        f"{row.rate:.2f}",
    )


def show_devices(
    model: ModelSizes, hardware: Hardware, work: Work, longest: int, devices: Sequence[int], sharding: str
) -> None:
    """Print two tables: the batch growing with the devices, and the batch of eight of them shared by all."""
    links, console = Links(), Console()
    whole = 8 * work.prompts * work.micro_batches
    for title, prompts in (
        ("each its own prompts: the batch grows", None),
        (f"{whole} prompts a step for all", whole),
    ):
        table = Table(title=f"{hardware.name}, {sharding}; {title}", title_justify="left")
        for column in COLUMNS:
            table.add_column(column, justify="right")
        for row in shares(model, hardware, work, longest, devices, sharding, prompts=prompts, links=links):
            table.add_row(*cells(row))
        console.print(table)
    console.print(
        f"Arithmetic, not a measurement; memory is that of tensors. {links.node} devices a node, "
        f"{links.inside / 1e9:.0f} GB/s into a device within it, {links.between / 1e9:.0f} GB/s into a node."
    )
