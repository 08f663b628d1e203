"""Questions about papers and authors: AgentBoard's `academia`, over a graph in a file.

Actions are AgentBoard's (Ma et al. 2024), whose graphs of DBLP come as pickles; here the graph is one JSON
record: `records=FILE` with `{"url": "graph", "params": {}, "response": {"papers": ..., "authors": ...}}`, where a
paper has authors, year, venue, n_citation, keywords, doc_type and cites, and an author has org. Collaborators
and common papers follow from the authors of papers. Without a data folder a tiny made-up graph serves tests.
AgentBoard's graph is not public in any form but pickles, so that there is nothing to ask live.
"""

from typing import Any, Literal

from pract.envs.tools.functions import Refused
from pract.envs.tools.queries import QueryTools, QueryWorld, record_of
from pract.envs.tools.recorded_http import RecordedHttp

Net = Literal["PaperNet", "AuthorNet"]


class Library(QueryWorld):
    """One episode of questions to the graph."""

    ACTIONS = (
        "loadPaperNet",
        "loadAuthorNet",
        "neighbourCheck",
        "paperNodeCheck",
        "authorNodeCheck",
        "authorEdgeCheck",
        "paperEdgeCheck",
        "check_valid_actions",
        "finish",
    )

    def __init__(self, http: RecordedHttp) -> None:
        super().__init__(http)
        self._loaded: set[str] = set()

    def loadPaperNet(self) -> str:  # noqa: N802 - AgentBoard's name
        """Loads PaperNet, whose nodes are papers and whose edges are citations."""
        self._loaded.add("PaperNet")
        return "PaperNet is loaded."

    def loadAuthorNet(self) -> str:  # noqa: N802 - AgentBoard's name
        """Loads AuthorNet, whose nodes are authors and whose edges are common papers."""
        self._loaded.add("AuthorNet")
        return "AuthorNet is loaded."

    def neighbourCheck(self, graph: Net, node: str) -> Any:  # noqa: N802 - AgentBoard's name
        """Lists the neighbours of a node: cited papers in PaperNet, collaborators in AuthorNet."""
        if graph == "PaperNet":
            return self._paper(node).get("cites", [])
        self._author(node)
        others = (name for paper in self._papers_by(node) for name in self._paper(paper)["authors"])
        return list(dict.fromkeys(name for name in others if name != node))

    def paperNodeCheck(self, node: str) -> Any:  # noqa: N802 - AgentBoard's name
        """Tells authors, year, venue, number of citations, keywords and kind of a paper."""
        fields = ("authors", "year", "venue", "n_citation", "keywords", "doc_type")
        paper = self._paper(node)
        return {field: paper.get(field) for field in fields}

    def authorNodeCheck(self, node: str) -> Any:  # noqa: N802 - AgentBoard's name
        """Tells name and organisation of an author."""
        return {"name": node, "org": self._author(node).get("org")}

    def authorEdgeCheck(self, node1: str, node2: str) -> Any:  # noqa: N802 - AgentBoard's name
        """Lists the papers that two authors wrote together."""
        for node in (node1, node2):
            self._author(node)
        common = [paper for paper in self._papers_by(node1) if node2 in self._paper(paper)["authors"]]
        if not common:
            raise Refused("The two authors have no paper in common.")
        return common

    def paperEdgeCheck(self, node1: str, node2: str) -> str:  # noqa: N802 - AgentBoard's name
        """Tells whether the first paper cites the second."""
        self._paper(node2)
        cites = node2 in self._paper(node1).get("cites", [])
        return "The first paper cites the second." if cites else "The first paper does not cite the second."

    def _graph(self, net: str) -> Any:
        if net not in self._loaded:
            raise Refused(f"{net} is not loaded; use load{net} first.")
        return self.ask("graph", {}, "graph")

    def _paper(self, node: str) -> Any:
        net = "PaperNet" if "PaperNet" in self._loaded or "AuthorNet" not in self._loaded else "AuthorNet"
        papers = self._graph(net)["papers"]
        if node not in papers:
            raise Refused(f"There is no paper {node[:80]!r}.")
        return papers[node]

    def _author(self, node: str) -> Any:
        authors = self._graph("AuthorNet")["authors"]
        if node not in authors:
            raise Refused(f"There is no author {node[:80]!r}.")
        return authors[node]

    def _papers_by(self, author: str) -> list[str]:
        papers = self._graph("AuthorNet")["papers"]
        return [title for title, paper in papers.items() if author in paper["authors"]]


class Academia(QueryTools):
    """The library as an environment."""

    def __init__(self, data: str | None = None, records: str | None = None) -> None:
        """`data`: AgentBoard's folder; `records`: a file with the graph."""
        path = record_of("academia", data, records, live=False)
        super().__init__(
            name="academia",
            world=Library,
            data=data,
            http=lambda own: RecordedHttp(own, path=path),
            begin=lambda http, task: Library(http),
            version="2",
        )
