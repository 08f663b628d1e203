"""Record and replay against a local server that misbehaves; no network. Keys stay out of records."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pract.envs.academia import Academia, Library
from pract.envs.movie import FilmGuide, Movie
from pract.envs.tools import recorded_http
from pract.envs.tools.answers import same_answer
from pract.envs.tools.functions import Refused
from pract.envs.tools.published import problem_rows
from pract.envs.tools.recorded_http import NotFound, NotRecorded, RecordedHttp
from pract.envs.weather import Weather, WeatherDesk
from pract.errors import InputError
from pract.types import Action


class Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        busy = path == "/busy" and len(self.asked) < 2
        status = {"/missing": 404, "/beyond": 400, "/broken": 500}.get(path, 429 if busy else 200)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"<html>" if path == "/html" else b'{"n": 1}')

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    monkeypatch.setattr(recorded_http.time, "sleep", lambda seconds: None)
    asked: list[str] = []
    handler = type("Recording", (Handler,), {"asked": asked})
    with HTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


def test_an_answer_is_recorded_once_and_replayed_without_its_key(
    server: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, asked = server
    path = tmp_path / "record.jsonl"
    live = RecordedHttp(path=path, live=True, secret={"api_key": "hush"})
    assert live.get(f"{url}/film", {"id": 7}) == {"n": 1}
    assert live.get(f"{url}/film", {"id": "7"}) == {"n": 1}
    assert asked == ["/film?id=7&api_key=hush"]
    assert "hush" not in path.read_text(encoding="utf-8")
    replay = RecordedHttp(path=path)
    assert replay.get(f"{url}/film", {"id": 7}) == {"n": 1}
    assert len(asked) == 1
    with pytest.raises(NotRecorded):
        replay.get(f"{url}/film", {"id": 8})


ODD = "a\u2028b\x85c\u2029d\x1ce\x0bf"


def test_an_answer_may_hold_any_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.jsonl"
    live = RecordedHttp(path=path, live=True)
    monkeypatch.setattr(live, "_fetch", lambda url, params: {"text": ODD + "\ud800"})
    live.get("http://films", {"id": 7})
    live.get("http://films", {"id": 8})
    for number in (7, 8):
        assert RecordedHttp(path=path).get("http://films", {"id": number}) == {"text": ODD + "?"}


def test_the_seats_of_a_run_record_into_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.jsonl"
    seats = [RecordedHttp(path=path, live=True) for _ in range(4)]
    monkeypatch.setattr(RecordedHttp, "_fetch", lambda self, url, params: {"text": params["id"] * 30_000})

    def play(seat: RecordedHttp, name: str) -> None:
        for number in range(20):
            seat.get(f"http://films/{number}", {"id": name})

    threads = [
        threading.Thread(target=play, args=(seat, name)) for seat, name in zip(seats, "abcd", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes().count(b"\n") == 80
    replay = RecordedHttp(path=path)
    for number in range(20):
        for name in "abcd":
            assert replay.get(f"http://films/{number}", {"id": name}) == {"text": name * 30_000}


@pytest.mark.parametrize("place", ["missing", "beyond"])
def test_what_is_missing_is_recorded_as_missing(
    place: str, server: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, asked = server
    path = tmp_path / "record.jsonl"
    for http in (RecordedHttp(path=path, live=True), RecordedHttp(path=path, live=True), None):
        with pytest.raises(NotFound):
            (http or RecordedHttp(path=path)).get(f"{url}/{place}", {})
    assert len(asked) == 2


def test_a_busy_service_is_asked_again(server: tuple[str, list[str]]) -> None:
    url, asked = server
    assert RecordedHttp(live=True).get(f"{url}/busy", {}) == {"n": 1}
    assert len(asked) == 2


@pytest.mark.parametrize(("path", "trouble"), [("/broken", "status 500"), ("/html", "not JSON")])
def test_a_broken_service_is_an_exception_without_the_key(
    server: tuple[str, list[str]], path: str, trouble: str
) -> None:
    url, _ = server
    with pytest.raises(ConnectionError, match=trouble) as caught:
        RecordedHttp(live=True, secret={"api_key": "hush"}).get(f"{url}{path}", {})
    assert "hush" not in str(caught.value)


def test_an_unreachable_service_is_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_http.time, "sleep", lambda seconds: None)
    with pytest.raises(ConnectionError, match="URLError"):
        RecordedHttp(live=True).get("http://127.0.0.1:9/x", {})


def test_a_record_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such record"):
        Movie(records=str(tmp_path / "none.jsonl"))


def test_live_films_need_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMDB_API_KEY", raising=False)
    with pytest.raises(InputError, match="TMDB_API_KEY"):
        Movie(live=True)


def ask(env: Movie | Weather, action: str, **arguments: object) -> str:
    return env.step(Action(name=action, arguments=arguments)).observation.text


def test_films_are_found_and_followed_to_their_director() -> None:
    movie = Movie()
    movie.reset(movie.tasks("train")[0])
    found = json.loads(ask(movie, "get_search_movie", movie_name="The Salt  Clock"))
    assert found["id"] == 101
    crew = json.loads(ask(movie, "get_movie_crew", movie_id=101))
    assert crew == {
        "crew": [
            {"id": 13, "name": "Ruth Amsel", "job": "Director"},
            {"id": 14, "name": "Ole Brandt", "job": "Editor"},
        ]
    }
    born = json.loads(ask(movie, "get_person_details", person_id="13"))
    assert born["place_of_birth"] == "Aarhus, Denmark"


def test_what_the_record_lacks_is_refused_and_counted() -> None:
    movie = Movie()
    movie.reset(movie.tasks("train")[0])
    result = movie.step(Action(name="get_movie_details", arguments={"movie_id": "999"}))
    assert result.refused
    assert result.observation.text == "The service has no answer about this film with this id."
    assert result.info == {"unrecorded": 1}


def test_a_made_up_world_says_so_in_its_version() -> None:
    assert [world().version for world in (Movie, Weather, Academia)] == ["3-own", "3-own", "2-own"]


@pytest.mark.parametrize(("name", "rows"), [("academia", 20), ("movie", 238), ("weather", 343)])
def test_the_answer_is_the_only_subgoal_so_that_progress_is_the_score(
    name: str, rows: int, real_data: Path
) -> None:
    found = problem_rows(real_data / "agentboard_tools" / f"{name}.jsonl")
    others = [
        subgoal
        for row in found
        for subgoal in row["subgoals"]
        if not same_answer(subgoal, row["additional_info"]["answer"])
    ]
    assert (len(found), others) == (rows, [])


def test_a_problem_without_an_answer_is_left_out_and_a_dictionary_is_given_as_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    setting = {"init_config": {"current_date": "2030-01-11", "current_location": "Quell"}}
    answers: list[object] = [None, {"rainy": 2, "mean": [5.6, 3.7]}, 4, [1.5]]
    rows = [
        {
            "id": number,
            "goal": f"Asked {number}",
            "subgoals": [answer],
            "additional_info": {**setting, "answer": answer},
        }
        for number, answer in enumerate(answers)
    ]
    (tmp_path / "weather.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    tools: list[dict[str, object]] = [{"name": name, "description": "Does."} for name in WeatherDesk.ACTIONS]
    given = {"answer": {"type": ["string", "number", "array"]}}  # as published
    tools[-1]["parameters"] = {"type": "object", "properties": given, "required": ["answer"]}
    (tmp_path / "weather_raw.json").write_text(json.dumps({"tool_set_message": tools}), encoding="utf-8")
    weather = Weather(str(tmp_path), live=True)
    tasks = [task for split in weather.splits() for task in weather.tasks(split)]
    assert sorted(task.id for task in tasks) == ["weather-1", "weather-2", "weather-3"]
    place = tmp_path / "weather.jsonl"
    assert caplog.messages == [f"{place}: weather-0 is left out: its answer is null, so nothing solves it"]
    assert unsolved(weather) == []


def unsolved(env: Academia | Movie | Weather) -> list[str]:
    """Tasks that the expected answer does not solve."""
    failed = []
    for task in (task for split in env.splits() for task in env.tasks(split)):
        env.reset(task)
        failed += [task.id for action in env.oracle(task) if env.step(action).score != 1.0]
    return failed


def test_the_oracle_solves_all_of_agentboards_questions(real_data: Path, tmp_path: Path) -> None:
    folder, record = str(real_data / "agentboard_tools"), tmp_path / "record.jsonl"
    record.write_text('{"url": "http://none", "params": {}}', encoding="utf-8")
    for world, tasks in ((Academia, 20), (Movie, 238), (Weather, 342)):
        env = world(folder, records=str(record))
        assert sum(len(env.tasks(split)) for split in env.splits()) == tasks
        assert unsolved(env) == []


def test_weather_is_asked_by_place_and_day() -> None:
    weather = Weather()
    weather.reset(weather.tasks("train")[0])
    place = json.loads(ask(weather, "get_latitude_longitude", name="High Quell"))
    assert (place["latitude"], place["longitude"]) == (47.6, 11.4)
    days = {"start_date": "2030-01-10", "end_date": "2030-01-11"}
    snow = json.loads(ask(weather, "get_historical_snow", latitude="47.6", longitude=11.4, **days))
    assert snow == {"time": ["2030-01-10", "2030-01-11"], "snowfall_sum": [4.2, 12.6]}
    assert ask(weather, "get_distance", latitude1=0, longitude1=0, latitude2=0, longitude2=1).startswith(
        "111.31949"
    )
    assert ask(weather, "get_air_quality_level", air_quality_index=55) == "moderate"
    assert ask(weather, "get_elevation", latitude=91, longitude=0) == (
        "Latitude goes from -90 to 90, longitude from -180 to 180."
    )


def telling(answer: object) -> RecordedHttp:
    """A service that answers everything alike."""
    http = RecordedHttp(live=True)
    http._fetch = lambda url, params: answer  # type: ignore[method-assign]
    return http


def test_air_quality_is_told_at_noon() -> None:
    hours = list(range(48))
    desk = WeatherDesk(
        telling({"hourly": {"time": hours, "european_aqi_pm2_5": hours}}), "2030-01-11", "Quell"
    )
    told = desk.get_historical_air_quality_index(47.6, 11.4, "2030-01-10", "2030-01-11")
    assert told == {"time": [12, 36], "european_aqi_pm2_5": [12, 36]}


def test_a_crew_is_led_by_who_directs_produces_and_writes() -> None:
    def crew(*jobs: str) -> list[dict[str, object]]:
        return [{"id": number, "name": "N", "job": job, "gender": 0} for number, job in enumerate(jobs)]

    guide = FilmGuide(telling({"crew": crew(*["Grip"] * 11, "Writer", "Director")}))
    shown = guide.get_movie_crew("7")["crew"]
    assert [person["id"] for person in shown] == [11, 12, 0, 1, 2, 3, 4, 5, 6, 7]
    assert shown[0] == {"id": 11, "name": "N", "job": "Writer"}
    guide = FilmGuide(telling({"crew": crew("Grip", *["Producer"] * 12)}))
    assert [person["id"] for person in guide.get_movie_crew("7")["crew"]] == list(range(1, 13))


def test_all_alternative_titles_are_told() -> None:
    titles = [{"iso_3166_1": "DK", "title": f"T{number}", "type": ""} for number in range(12)]
    told = FilmGuide(telling({"titles": titles})).get_movie_alternative_titles("7")["titles"]
    assert [title["title"] for title in told] == [f"T{number}" for number in range(12)]
    assert told[0] == {"iso_3166_1": "DK", "title": "T0"}


GRAPH = {
    "papers": {"A": {"authors": ["Ann", "Bob"], "cites": ["B"]}, "B": {"authors": ["Bob"], "cites": []}},
    "authors": {"Ann": {"org": "X"}, "Bob": {"org": "Y"}},
}


def test_a_citation_has_a_direction() -> None:
    library = Library(telling(GRAPH))
    library.loadPaperNet()
    assert library.paperEdgeCheck("A", "B") == "The first paper cites the second."
    assert library.paperEdgeCheck("B", "A") == "The first paper does not cite the second."
    assert (library.neighbourCheck("PaperNet", "A"), library.neighbourCheck("PaperNet", "B")) == (["B"], [])


def test_a_net_is_loaded_before_it_is_asked() -> None:
    library = Library(telling(GRAPH))
    with pytest.raises(Refused, match="PaperNet is not loaded; use loadPaperNet first"):
        library.paperNodeCheck("A")
    library.loadPaperNet()
    assert library.paperNodeCheck("A")["authors"] == ["Ann", "Bob"]
    with pytest.raises(Refused, match="AuthorNet is not loaded; use loadAuthorNet first"):
        library.authorNodeCheck("Ann")
    library.loadAuthorNet()
    assert library.neighbourCheck("AuthorNet", "Ann") == ["Bob"]
    assert library.authorEdgeCheck("Ann", "Bob") == ["A"]
