"""WebShop in text mode: find a product that fits an instruction, choose its options, buy it.

After WebShop (Yao et al. 2022), written anew without its web server. Same: actions, pages of ten out of fifty
results, item pages with options, description and features, and the reward (`pract.envs.shop.reward`).
Different, and named in every result by the version: search is SQLite FTS5 with Porter stems
(titles count twice, the price clause of an instruction is not searched) instead of Lucene;
goals are the 6,910 synthetic ones of the 1,000-product set, frozen, because the human instructions are not
public; there are no reviews; the instruction stands in the first text only; by default the splits share no
product (`split_by=index` gives upstream's: test 0-499, validation 500-1499, train 1500 and up).

Without a data folder it is a small made-up shop of our own, which is good for tests and demonstrations.
"""

from typing import Any

from pract.envs.shop.goals import goal_of, open_shop
from pract.envs.shop.visit import BUY, NEXT, Visit
from pract.envs.tools.functions import FunctionTools, Verdict, action_of
from pract.errors import InputError
from pract.types import Action, Task


class WebShop(FunctionTools):
    """The shop as an environment. Its partial credit is the best purchase that was one click away."""

    def __init__(
        self,
        data: str | None = None,
        split_by: str = "product",
        page_size: int = 10,
        title_chars: int = 0,
        brief: bool = False,
    ) -> None:
        """`data`: folder with WebShop's files; `title_chars`: cut titles in result lists (0 shows them whole).

        `brief`: a chosen option is answered by one line instead of the whole page, which spares a small model
        much reading; upstream shows the page.
        """
        if split_by not in ("product", "index"):
            raise InputError(f"env.split_by is {split_by!r}; choose product or index")
        if page_size < 1 or title_chars < 0:
            raise InputError(
                f"env.page_size {page_size} must be 1 or more, env.title_chars {title_chars} 0 or more"
            )
        if split_by == "index" and data is None:
            raise InputError("env.split_by=index needs the frozen goals; set env.data to WebShop's folder")
        shop = open_shop(data, split_by)
        self.catalogue, self._page_size = shop.catalogue, page_size
        super().__init__(
            name="webshop",
            version=f"3-fts5-{split_by}-{page_size}-{title_chars}" + "-brief" * brief,
            licence="Apache-2.0" if data is None else "MIT",
            splits=shop.splits,
            actions=[action_of(Visit.search), action_of(Visit.click)],
            start=lambda task, seed: Visit(
                shop=shop.catalogue,
                goal=goal_of(task, shop.catalogue),
                instruction=task.instruction,
                page_size=page_size,
                title_chars=title_chars,
                brief=brief,
            ),
            verdict=_verdict,
            first_text=lambda task, visit: visit.text(),
            hints=_hints,
            content=shop.content,
        )

    def oracle(self, task: Task) -> list[Action]:
        """Searches for the target's title, opens it, chooses the wanted options and buys it."""
        goal = goal_of(task, self.catalogue)
        queries = (goal.product.title, goal.product.document, task.instruction)
        asin = goal.product.asin
        query = next((text for text in queries if asin in self.catalogue.search(text)), queries[0])
        found = self.catalogue.search(query)
        turns = found.index(asin) // self._page_size if asin in found else 0
        clicks = [*[NEXT] * turns, asin, *goal.options.values(), BUY]
        return [
            Action(name="search", arguments={"query": query}),
            *(Action(name="click", arguments={"button": button}) for button in clicks),
        ]


def _verdict(task: Task, visit: Visit) -> Verdict:
    purchase = visit.purchase()
    if purchase is None:
        return Verdict(score=0.0)
    if not visit.finished:
        return Verdict(score=0.0, progress=purchase.reward)
    parts = {
        "bought": visit.item.asin if visit.item else "",
        "options": dict(visit.chosen),
        "type_factor": purchase.type_factor,
        "attributes_hit": purchase.attributes_hit,
        "options_hit": purchase.options_hit,
        "price_ok": purchase.price_ok,
    }
    return Verdict(score=purchase.reward, info=parts)


def _hints(task: Task, visit: Visit) -> dict[str, Any]:
    if not visit.page:
        words = task.instruction.split(", and price lower than")[0].removeprefix("Find me ")
        return {"admissible": [{"name": "search", "arguments": {"query": words}}]}
    return {"admissible": [{"name": "click", "arguments": {"button": name}} for name in visit.buttons()]}
