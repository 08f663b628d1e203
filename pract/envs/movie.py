"""Questions about films and people: AgentBoard's `movie`, over a recorded TMDB.

Actions are AgentBoard's (Ma et al. 2024). Without a data folder there are a few made-up films, for tests. With
one (movie.jsonl, movie_raw.json) a record must answer: `records=FILE`, made once with `live=true` and a key in
the environment variable TMDB_API_KEY. Without such a record no score means anything, and none is given.
"""

import os
from typing import Any

from pract.envs.tools.functions import Refused
from pract.envs.tools.queries import QueryTools, QueryWorld, record_of
from pract.envs.tools.recorded_http import RecordedHttp
from pract.errors import InputError

TMDB = "https://api.themoviedb.org/3"
KEY = "TMDB_API_KEY"
MOST = 10
"""Entries of a cast, crew or list that are shown, as AgentBoard does; of alternative titles it shows all."""
LEADING = ("Director", "Producer", "Writer")
"""Jobs of the crew that are shown whatever their number."""


class FilmGuide(QueryWorld):
    """One episode of questions to TMDB."""

    ACTIONS = (
        "get_search_movie",
        "get_movie_details",
        "get_movie_production_companies",
        "get_movie_production_countries",
        "get_movie_cast",
        "get_movie_crew",
        "get_movie_keywords",
        "get_search_person",
        "get_person_details",
        "get_person_cast",
        "get_person_crew",
        "get_person_external_ids",
        "get_movie_alternative_titles",
        "get_movie_translation",
        "check_valid_actions",
        "finish",
    )

    def get_search_movie(self, movie_name: str) -> Any:
        """Finds a film by its name and tells its id, title and overview."""
        return _picked(self._first("search/movie", movie_name, "film"), ("id", "title", "overview"))

    def get_movie_details(self, movie_id: str) -> Any:
        """Tells budget, revenue, rating, genres and release date of a film."""
        film = self._film(movie_id)
        shown = _picked(film, ("budget", "revenue", "vote_average", "release_date"))
        return {**shown, "genres": [genre["name"] for genre in film.get("genres", [])]}

    def get_movie_production_companies(self, movie_id: str) -> Any:
        """Tells which companies made a film."""
        return {"production_companies": _names(self._film(movie_id), "production_companies")}

    def get_movie_production_countries(self, movie_id: str) -> Any:
        """Tells in which countries a film was made."""
        return {"production_countries": _names(self._film(movie_id), "production_countries")}

    def get_movie_cast(self, movie_id: str) -> Any:
        """Tells the first ten actors of a film and whom they play."""
        people = self._film(movie_id, "/credits").get("cast", [])[:MOST]
        return {"cast": [_picked(person, ("id", "name", "character")) for person in people]}

    def get_movie_crew(self, movie_id: str) -> Any:
        """Tells who directed, produced and wrote a film, and of the others of its crew so many as make ten."""
        people = self._film(movie_id, "/credits").get("crew", [])
        named = [person for person in people if person.get("job") in LEADING]
        others = [person for person in people if person.get("job") not in LEADING]
        people = named + others[: max(0, MOST - len(named))]
        return {"crew": [_picked(person, ("id", "name", "job")) for person in people]}

    def get_movie_keywords(self, movie_id: str) -> Any:
        """Tells the keywords of a film."""
        return {"keywords": _names(self._film(movie_id, "/keywords"), "keywords")}

    def get_search_person(self, person_name: str) -> Any:
        """Finds a person by name and tells the id."""
        return _picked(self._first("search/person", person_name, "person"), ("id", "name"))

    def get_person_details(self, person_id: str) -> Any:
        """Tells biography, birthday and place of birth of a person."""
        return _picked(self._person(person_id), ("biography", "birthday", "place_of_birth"))

    def get_person_cast(self, person_id: str) -> Any:
        """Tells ten films in which a person acted."""
        films = self._person(person_id, "/movie_credits").get("cast", [])[:MOST]
        return {"cast": [_picked(film, ("id", "title", "character")) for film in films]}

    def get_person_crew(self, person_id: str) -> Any:
        """Tells ten films on which a person worked behind the camera."""
        films = self._person(person_id, "/movie_credits").get("crew", [])[:MOST]
        return {"crew": [_picked(film, ("id", "title", "job")) for film in films]}

    def get_person_external_ids(self, person_id: str) -> Any:
        """Tells under which ids other services know a person."""
        ids = ("imdb_id", "facebook_id", "instagram_id", "twitter_id")
        return _picked(self._person(person_id, "/external_ids"), ids)

    def get_movie_alternative_titles(self, movie_id: str) -> Any:
        """Tells other titles of a film."""
        titles = self._film(movie_id, "/alternative_titles").get("titles", [])
        return {"id": movie_id, "titles": [_picked(title, ("iso_3166_1", "title")) for title in titles]}

    def get_movie_translation(self, movie_id: str) -> Any:
        """Tells a film's descriptions in other languages."""
        texts = self._film(movie_id, "/translations").get("translations", [])[:MOST]
        return {
            "id": movie_id,
            "translations": [_picked(text, ("iso_639_1", "name", "data")) for text in texts],
        }

    def _first(self, path: str, wanted: str, what: str) -> Any:
        found = self.ask(f"{TMDB}/{path}", {"query": " ".join(wanted.lower().split())[:200]}, what)
        if not found.get("results"):
            raise Refused(f"There is no {what} of this name.")
        return found["results"][0]

    def _film(self, key: str, part: str = "") -> Any:
        return self.ask(f"{TMDB}/movie/{_id(key)}{part}", {}, "film with this id")

    def _person(self, key: str, part: str = "") -> Any:
        return self.ask(f"{TMDB}/person/{_id(key)}{part}", {}, "person with this id")


class Movie(QueryTools):
    """The film guide as an environment."""

    def __init__(self, data: str | None = None, records: str | None = None, live: bool = False) -> None:
        """`data`: AgentBoard's folder; `records`: a record file; `live`: ask TMDB for what it lacks."""
        path = record_of("movie", data, records, live)
        if live and KEY not in os.environ:
            raise InputError(f"env.live=true needs a TMDB key in the environment variable {KEY}")
        secret = {"api_key": os.environ[KEY]} if live else {}
        super().__init__(
            name="movie",
            world=FilmGuide,
            data=data,
            http=lambda own: RecordedHttp(own, path=path, live=live, secret=secret),
            begin=lambda http, task: FilmGuide(http),
            version="3",
        )


def _id(text: str) -> str:
    """The digits of an id; an id goes into an address, so nothing else may."""
    return "".join(char for char in text if char in "0123456789")[:12] or "0"


def _picked(facts: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    return {field: facts.get(field) for field in fields}


def _names(facts: Any, field: str) -> list[str]:
    return [entry["name"] for entry in facts.get(field, [])]
