"""The provider that a recipe's `ingest.search` names, its settings checked."""

from pathlib import Path
from urllib.parse import urlsplit

from components.core import paths
from components.core.errors import UsageError
from components.core.recipe import Search
from components.ingest.search import generic, local, openverse, wikimedia
from components.ingest.search.hits import Provider

_EXAMPLE = "https://host/search?q={query}&page={page}&n={per_page}"


def provider_of(search: Search) -> Provider:
    """Who is asked, and how. Raises UsageError, naming the key, where the settings do not make a provider."""
    if search.fields and search.provider != "json":
        _refuse("fields", f"the provider {search.provider} has a form of its own", "leave it out")
    if search.provider == "folder":
        if not search.endpoint:
            _refuse("endpoint", "missing", "name the folder below which a query names a folder of pictures")
        if not (paths.workspace() / Path(search.endpoint).expanduser()).is_dir():
            _refuse("endpoint", f"{search.endpoint!r} is no folder", "correct the path")
        return local.provider(search.endpoint)
    if search.provider == "json":
        _check_template(search)
        return generic.provider(search.endpoint, search.fields)
    if search.endpoint is not None:
        _check_address(search.endpoint)
    return {"openverse": openverse, "wikimedia": wikimedia}[search.provider].provider(search.endpoint)


def _check_template(search: Search) -> None:
    if not search.endpoint:
        _refuse("endpoint", "missing", f"give the server's address as a template: {_EXAMPLE}")
    try:
        places = generic.places(search.endpoint)
    except ValueError as error:
        _refuse("endpoint", f"{search.endpoint!r}: {error}", f"write it like {_EXAMPLE}")
    if unknown := sorted(places - set(generic.PLACES)):
        _refuse("endpoint", f"{{{unknown[0]}}} is not known", f"known: {', '.join(generic.PLACES)}")
    if "query" not in places:
        _refuse("endpoint", f"{search.endpoint!r} has no {{query}}", f"write it like {_EXAMPLE}")
    _check_address(search.endpoint)
    for name in ("items", "url"):
        if name not in search.fields:
            _refuse("fields", f"no `{name}` in it", f"give the dotted path to an answer's {name}")


def _check_address(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        known = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        known = False
    if not known:
        _refuse("endpoint", f"{endpoint!r} is no http(s) address", "correct it")
    if parts.username or parts.password:
        _refuse("endpoint", "a user's name or password in it", "put them into ~/.netrc")


def _refuse(key: str, problem: str, remedy: str) -> None:
    raise UsageError(f"ingest.search.{key}: {problem}", remedy)
