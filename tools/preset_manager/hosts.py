"""What the hosts of a preset's files say of them, and the preset as it is installed then."""

from collections.abc import Iterable, Mapping

from services import plans
from services.credentials import Credentials
from services.installs import View
from services.presets import Preset
from services.proxies import Proxies
from services.resolver import Fact, Resolver, Trouble
from services.sources import Sources
from tools.preset_manager import refusals
from tools.preset_manager.context import Context

Found = Mapping[str, Fact | Trouble]


def sources(context: Context) -> Sources:
    """The rules of this moment, with the tokens that were saved in the dashboard."""
    return Sources.from_settings(context.config, Credentials(context.config, context.workspace))


def ask(context: Context, presets: Iterable[Preset], view: View, *, refresh: bool = False) -> Found:
    """Of every file that is not here, by the address that its preset names."""
    urls = [file.url for preset in presets for file in plans.missing_files(preset, view)]
    if not urls:
        return {}
    resolver = Resolver(lambda: sources(context), Proxies.from_settings(context.config), context.lock)
    return resolver.resolve(urls, refresh=refresh)


def refused(preset: Preset, found: Found, view: View) -> list[tuple[str, Trouble]]:
    """(name, why) of the files that cannot be had from where the preset says, nor from anywhere else it names."""
    return [
        (file.name, said)
        for file in plans.missing_files(preset, view)
        if isinstance(said := found.get(file.url), Trouble) and refusals.is_refusal(said.kind) and not file.mirrors
    ]
