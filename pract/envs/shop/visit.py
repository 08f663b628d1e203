"""One visit to the shop: pages, buttons, and what pressing them does."""

from dataclasses import dataclass, field

from pract.envs.shop.catalogue import Catalogue, Product
from pract.envs.shop.reward import Goal, PurchaseReward, purchase_reward
from pract.envs.tools.arguments import shortened
from pract.envs.tools.functions import Refused

BACK, NEXT, PREVIOUS, BUY = "Back to Search", "Next >", "< Prev", "Buy Now"
DETAILS = ("Description", "Features")


@dataclass(slots=True, kw_only=True)
class Visit:
    """One episode: which page is open and what has been chosen."""

    shop: Catalogue
    goal: Goal
    instruction: str
    page_size: int
    title_chars: int
    brief: bool
    finished: bool = False
    results: tuple[str, ...] = ()
    page: int = 0
    """Open page of results, from 1; 0 is the search page."""
    item: Product | None = None
    detail: str = ""
    chosen: dict[str, str] = field(default_factory=dict)

    def search(self, query: str) -> str:
        """Searches the shop. Only possible on the search page."""
        if self.page:
            raise Refused(f"This page has no search bar, only buttons; use click. {self._offered()}")
        found = self.shop.search(query)
        if not found:
            raise Refused("No product has any of these words. Search with other words.")
        self.results, self.page = found, 1
        return self.text()

    def click(self, button: str) -> str:
        """Clicks a button or link of the open page, named by the text inside its brackets."""
        wanted = button.strip().removeprefix("[").removesuffix("]").strip().casefold()
        exact = next((name for name in self.buttons() if name.casefold() == wanted), None)
        if exact is None:
            raise Refused(f"There is no button {shortened(repr(button), 80)} on this page. {self._offered()}")
        return self._pressed(exact)

    def _pressed(self, name: str) -> str:
        if name == BACK:
            self.page, self.item, self.detail, self.chosen = 0, None, "", {}
        elif name == NEXT:
            self.page += 1
        elif name == PREVIOUS:
            self._step_back()
        elif self.item is None:
            self.item, self.chosen = self.shop.products[name], {}
        elif name == BUY:
            self.finished = True
            return f"You have bought {self.item.asin}. Thank you for shopping with us."
        elif name in DETAILS:
            self.detail = name
        else:
            option = next(option for option, values in self.item.options.items() if name in values)
            self.chosen[option] = name
            return f"You have clicked {name}.\n{self._choices() if self.brief else self.text()}"
        return self.text()

    def _choices(self) -> str:
        """What is chosen and what is not, in one line."""
        options = self.item.options if self.item is not None else {}
        told = [f"{name}: {self.chosen.get(name, 'not chosen')}" for name in options]
        return "; ".join(told)

    def _step_back(self) -> None:
        if self.detail:
            self.detail = ""
        elif self.item is not None:
            self.item, self.chosen = None, {}
        else:
            self.page -= 1

    def buttons(self) -> list[str]:
        """Everything that can be clicked on the open page, in reading order."""
        if not self.page:
            return []
        if self.detail:
            return [BACK, PREVIOUS]
        if self.item is not None:
            values = [value for values in self.item.options.values() for value in values]
            return [BACK, PREVIOUS, *dict.fromkeys(values), *DETAILS, BUY]
        more = self.page * self.page_size < len(self.results)
        turns = [NEXT] * more + [PREVIOUS] * (self.page > 1)
        return [BACK, *turns, *self._on_page()]

    def _offered(self) -> str:
        """What can be pressed here, in a sentence."""
        names = self.buttons()[:12]
        if not names:
            return "This page has a search bar and no buttons; use search."
        return f"Buttons: {' '.join(f'[{name}]' for name in names)}."

    def text(self) -> str:
        """The open page."""
        if not self.page:
            return f"Instruction: {self.instruction}\n[Search]"
        if self.item is None:
            return self._results_text()
        if self.detail:
            body = self.item.description if self.detail == DETAILS[0] else "\n".join(self.item.features)
            return f"[{BACK}]\n[{PREVIOUS}]\n{body.strip() or 'Nothing is said here.'}"
        options = [
            f"{name} {''.join(f'[{value}]' for value in values)}"
            for name, values in self.item.options.items()
        ]
        facts = [self.item.title, f"Price: {self.item.price_tag}", f"Rating: {self.item.rating}"]
        links = [f"[{name}]" for name in (*DETAILS, BUY)]
        return "\n".join([f"[{BACK}]", f"[{PREVIOUS}]", *options, *facts, *links])

    def _results_text(self) -> str:
        lines = [f"[{BACK}]", f"Page {self.page} (Total results: {len(self.results)})"]
        lines += [f"[{name}]" for name in self.buttons()[1:3] if name in (NEXT, PREVIOUS)]
        for asin in self._on_page():
            found = self.shop.products[asin]
            title = found.title[: self.title_chars] if self.title_chars else found.title
            lines += [f"[{asin}]", title, found.price_tag]
        return "\n".join(lines)

    def _on_page(self) -> tuple[str, ...]:
        return self.results[(self.page - 1) * self.page_size : self.page * self.page_size]

    def purchase(self) -> PurchaseReward | None:
        """What buying now would be worth; None where nothing can be bought."""
        return purchase_reward(self.item, self.chosen, self.goal) if self.item is not None else None
