"""`source: search`: asks, fetches, chooses, and lays out what was taken as a folder with its labels beside it.

What is there is not asked for again, so a killed run goes on where it was, a run that finds everything there asks
nobody and starts no Spark, and a further query costs that query.
"""

import sys
from contextlib import ExitStack
from functools import cache, partial
from urllib.parse import quote, urlsplit

from components.core import paths
from components.core.errors import SightlineError, TransientError
from components.core.files import value_sha256
from components.core.recipe import Recipe
from components.core.spark import map_items, spark_session
from components.ingest.probe import STAGE, code
from components.ingest.search import kept, local, work
from components.ingest.search.choose import Found, choose
from components.ingest.search.failures import Failures
from components.ingest.search.hits import Answer, Hit, Provider
from components.ingest.search.providers import provider_of
from components.ingest.search.publish import TABLE, publish
from components.ingest.search.queries import Query, queries_of
from components.ingest.sources.source import FOLDERS, Source, find_labels, locked

LABELS = "search"  # what the annotations' source is: a label that nobody looked at


def locate(recipe: Recipe) -> Source:
    """The pictures that the recipe's queries find, gathered as far as they are not here.

    Raises UsageError where the recipe's queries or provider make no search, SightlineError where nobody answers.
    """
    search, task = recipe.ingest.search, recipe.task
    queries, provider = queries_of(recipe), provider_of(search)
    spec = {"search": search.model_dump(mode="json"), "classes": task.classes, "positive": task.positive}
    root = paths.state("gathered", value_sha256(spec)[:16])
    with locked(root.with_suffix(".lock")), Gathering(recipe, provider, Failures(root / ".failed.json")) as gathering:
        hits = gathering.hits(queries)
        found = gathering.pictures(hits)
        chosen = choose(found, search)
        names = publish(root, chosen.taken, search.provider)
        gathering.failures.save()
    # A table of uris has the workspace's own files as such: what a search found but did not take is none of them.
    refused = {
        url if "://" in url else f"search://{search.provider}/{quote(url)}": reason
        for url, reason in (gathering.refused | chosen.refused).items()
    }
    seen = f"{len(queries)} queries found {len({hit.url for _, hit in hits})} pictures"
    counts = chosen.words([query.label for query in queries], len(gathering.refused))
    print(f"ingest: search: {seen}; {counts}", file=sys.stderr)
    labels, form = find_labels(recipe, root, TABLE, "csv")
    weak = form == FOLDERS or labels == root / TABLE
    return Source(
        root, "search", root.relative_to(paths.workspace()).as_posix(), names, 0, labels, dict(recipe.ingest.label_map),
        label_format=form, refused=tuple(sorted(refused.items())), label_source=LABELS if weak else "human",
    )  # fmt: skip


class Gathering:
    """Context: one search under way. `refused`: address of a question or a picture -> reason. Spark starts late."""

    def __init__(self, recipe: Recipe, provider: Provider, failures: Failures):
        self._search, self._provider, self.failures = recipe.ingest.search, provider, failures
        self._limits = recipe.ingest.limits.model_dump()
        self._session, self._stack = None, ExitStack()
        self.refused: dict[str, str] = {}
        self._local = cache(partial(local.content, self._search.endpoint))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stack.close()
        return False

    def hits(self, queries: tuple[Query, ...]) -> list[tuple[Query, Hit]]:
        """What the queries find, in their order and then the provider's, at most as many each as are wanted.

        Page by page, all queries at once, until a query has enough or nothing more. Raises TransientError where nobody
        answers now, SightlineError where no question is answered.
        """
        found: dict[Query, dict[str, Hit]] = {query: {} for query in queries}
        asking, page, answered = list(queries), 1, 0
        while asking:
            answers = self._answers(asking, page)
            answered += sum(answer is not None for answer in answers.values())
            if not answered:
                self._give_up(len(asking))
            asking = []
            for query, answer in answers.items():
                if answer is not None and self._take_over(query, page, answer, found[query]) and answer.more:
                    asking.append(query)
            page += 1
        wanted = [(query, hit) for query in queries for hit in list(found[query].values())[: query.wanted]]
        return [(query, hit) for query, hit in wanted if self._is_licensed(hit)]

    def _take_over(self, query: Query, page: int, answer: Answer, found: dict[str, Hit]) -> bool:
        """Adds an answer's hits; whether the query's next page is worth asking for."""
        before = len(found)
        for hit in answer.hits:
            found.setdefault(hit.url, hit)
        for place, reason in answer.refused:
            self.refused[f"{self._question(query, page)}#{place}"] = reason
        return before < len(found) < query.wanted

    def _answers(self, queries: list[Query], page: int) -> dict[Query, Answer | None]:
        """Page `page` of the queries' answers; None, and a reason in `refused`, where there is none."""
        if not self._provider.web:
            return {query: self._listed(query, page) for query in queries}
        urls = {query: self._provider.request(query.text, page, self._search.per_page) for query in queries}
        questions = {query: self._question(query, page) for query in queries}
        answers = {query: self._kept(url, page) for query, url in urls.items()}
        missing = [q for q in queries if answers[q] is None and not self.failures.settled(questions[q])]
        items = [{"search": self._search.model_dump(mode="json"), "url": urls[q], "page": page} for q in missing]
        for query, result in zip(missing, self._map(items, work.ask, f"search, page {page}", "queries"), strict=True):
            if "failed" in result:
                self.failures.note(questions[query], result["failed"], result.get("final", False))
            else:
                answers[query] = self._kept(urls[query], page)
        self.refused |= {questions[q]: self.failures.reason(questions[q]) for q in queries if answers[q] is None}
        return answers

    def _kept(self, url: str, page: int) -> Answer | None:
        return kept.kept_answer(self._provider, url, page, self._search.per_page)

    def _listed(self, query: Query, page: int) -> Answer | None:
        try:
            return self._provider.read(self._local(query.text), page, self._search.per_page)
        except ValueError as error:
            self.refused[self._question(query, page)] = str(error)
            return None

    def _question(self, query: Query, page: int) -> str:
        """What a question is called in tables: an endpoint may have a key in it."""
        return f"search://{self._search.provider}/{quote(query.text, safe='')}?page={page}"

    def _give_up(self, count: int) -> None:
        name, reason = next(iter(sorted(self.refused.items())))
        passing = not all(self.failures.is_final(question) for question in self.refused)
        problem = f"{name}: {reason}; none of {count} queries was answered"
        if self._provider.web and passing:
            raise TransientError(problem, "see whether the provider can be reached and run again")
        raise SightlineError(problem, "correct ingest.search: provider, endpoint, fields, queries")

    def _is_licensed(self, hit: Hit) -> bool:
        """Whether the recipe takes the hit's licence: one of its words, or one with a version behind it."""
        licence = hit.licence.casefold()
        allowed = [word.casefold() for word in self._search.licences]
        if not allowed or any(licence == word or licence.startswith(f"{word} ") for word in allowed):
            return True
        self.refused[hit.url] = f"licence {hit.licence!r} is not one of ingest.search.licences"
        return False

    def pictures(self, hits: list[tuple[Query, Hit]]) -> list[Found]:
        """The hits whose pictures are here, after fetching those that are not; the others are `refused`."""
        bounds = work.bounds_of(self._search, self._limits)
        names = {hit.url: self._name(hit.url) for _, hit in hits}
        missing = [
            url for url, name in names.items()
            if not kept.kept_record(name, bounds) and not self.failures.settled(name)
        ]  # fmt: skip
        common = {"limits": self._limits, "code": code(), "search": self._search.model_dump(mode="json")}
        items = [{"url": url, "path": url, "name": names[url]} | common for url in interleaved(missing)]
        results = self._map(items, work.take if self._provider.web else work.look, "gather", "pictures")
        for item, result in zip(items, results, strict=True):
            if "failed" in result:
                self.failures.note(item["name"], result["failed"], asked=result.get("asked", True))
        found = []
        for query, hit in hits:
            record = kept.kept_record(names[hit.url], bounds)
            if record is None or "reason" in record:
                self.refused[hit.url] = record["reason"] if record else self.failures.reason(names[hit.url])
            else:
                found.append(Found(query, hit, record))
        return found

    def _name(self, url: str) -> str:
        """What a picture is kept as: its address, and for a file also what changes with its bytes."""
        if self._provider.web:
            return url
        try:
            status = (paths.workspace() / url).stat()
        except OSError:
            return url
        return f"{url}\0{status.st_size}\0{status.st_mtime_ns}"

    def _map(self, items: list[dict], function, label: str, unit: str) -> list[dict]:
        if items and self._session is None:
            self._session = self._stack.enter_context(spark_session(STAGE))
        return map_items(self._session, items, function, label, unit)


def interleaved(urls: list[str]) -> list[str]:
    """The addresses with their hosts taking turns, so that workers seldom wait for one another."""
    hosts: dict[str, list[str]] = {}
    for url in urls:
        hosts.setdefault(urlsplit(url).netloc, []).append(url)
    ranked = [(place, number, url) for number, group in enumerate(hosts.values()) for place, url in enumerate(group)]
    return [url for *_, url in sorted(ranked)]
