"""What waits for what: a reflection for its episode alone, rewrites for the first of them. No model, no network."""

import asyncio
from collections.abc import Sequence

import pytest

from pract.optimizer import OptimizerConfig, PrincipleOptimizer
from pract.types import Episode, Message, Reply
from tests.pract.fakes import ScriptedChat, doors_script
from tests.pract.looping import learning, run
from tests.pract.made import ACTIONS, PRINCIPLES, reflection


@pytest.mark.parametrize("mode", [{"schedule": "batch"}, {"schedule": "traj", "traj_mode": "merged"}])
def test_an_episode_is_criticised_as_soon_as_it_has_ended(mode: dict[str, str]) -> None:
    ready, chat = learning(acceptance="off", rounds=1, **mode)
    run(ready)
    tags = [tag for tag, _ in chat.asked]
    criticised = [place for place, tag in enumerate(tags) if tag.endswith("/reflect")]
    last_step = max(
        place for place, tag in enumerate(tags) if "/train-002/" in tag.replace("%2F", "/") and "step" in tag
    )
    assert len(criticised) == 3
    assert criticised[0] < criticised[1] < last_step < criticised[2]


def test_merged_trajectories_are_rewritten_from_while_others_are_played() -> None:
    ready, chat = learning(acceptance="off", rounds=1, schedule="traj", traj_mode="merged")
    run(ready)
    tags = [tag for tag, _ in chat.asked]
    first_rewrite = next(place for place, tag in enumerate(tags) if "/optimize-000/" in tag)
    assert first_rewrite < max(place for place, tag in enumerate(tags) if "step" in tag)


def test_no_more_is_asked_at_once_than_there_are_seats() -> None:
    counting = Counting(doors_script)
    ready, _ = learning(acceptance="off", rounds=1, batch_size=8, concurrency=2, script=doors_script)
    ready.crew.chat._chat = ready.crew.reflector.chat._chat = counting  # type: ignore[attr-defined]
    run(ready)
    assert counting.most == 2


class Counting(ScriptedChat):
    """Keeps how many replies were being written at once."""

    now = most = 0

    async def reply(self, messages: Sequence[Message], *, tag: str, **options: object) -> Reply:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.002)
        try:
            return await super().reply(messages, tag=tag, **options)
        finally:
            self.now -= 1


def test_the_first_rewrite_goes_ahead_and_the_others_find_its_prefix() -> None:
    started: list[tuple[str, int]] = []

    class Watching(Counting):
        async def reply(self, messages: Sequence[Message], *, tag: str, **options: object) -> Reply:
            started.append((tag, self.now))
            return await super().reply(messages, tag=tag, **options)

    chat = Watching(doors_script)
    optimizer = PrincipleOptimizer(chat, OptimizerConfig(), ACTIONS)
    critique = reflection(actions=("look", "take", "open"))
    asyncio.run(optimizer.improve(PRINCIPLES, [critique], tag="o"))
    assert started == [("o/look", 0), ("o/take", 0), ("o/open", 1)]
    systems = {messages[0].content for _, messages in chat.asked}
    assert len(systems) == 1


def test_a_watcher_that_fails_leaves_no_episode_running() -> None:
    ready, _ = learning(concurrency=3, delay=0.01)

    def fail(episode: Episode) -> None:
        raise OSError("disk full")

    async def left() -> int:
        crew = ready.crew
        crew.watch = fail
        places = [(f"a/{task.id}", task, 0) for task in ready.train]
        with pytest.raises(OSError, match="disk full"):
            await crew.play(places, ready.start)
        return len(asyncio.all_tasks()) - 1

    assert asyncio.run(left()) == 0
