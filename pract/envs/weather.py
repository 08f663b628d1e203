"""Questions about the weather: AgentBoard's `weather`, over a recorded Open-Meteo.

Actions are AgentBoard's (Ma et al. 2024). Without a data folder there are a few days of two made-up towns, for
tests. With one (weather.jsonl, weather_raw.json) a record must answer: `records=FILE`, made once with
`live=true` (Open-Meteo needs no key). Without such a record no score means anything, and none is given.
Forecasts are asked of the archive, since the problems' days have passed.
"""

from datetime import date
from typing import Any

from geographiclib.geodesic import Geodesic

from pract.envs.tools.functions import Refused
from pract.envs.tools.queries import QueryTools, QueryWorld, record_of
from pract.envs.tools.recorded_http import RecordedHttp
from pract.types import Task

ARCHIVE = "https://archive-api.open-meteo.com/v1/archive"
PLACES = "https://geocoding-api.open-meteo.com/v1/search"
HEIGHTS = "https://api.open-meteo.com/v1/elevation"
AIR = "https://air-quality-api.open-meteo.com/v1/air-quality"
TEMPERATURE = "temperature_2m_max,temperature_2m_min,temperature_2m_mean"
LONGEST_RANGE = 370
"""Days that one request may cover."""
LEVELS = ((20, "good"), (40, "fair"), (60, "moderate"), (80, "poor"), (100, "very poor"))
"""Upper bounds of the European air quality index."""


class WeatherDesk(QueryWorld):
    """One episode of questions to Open-Meteo."""

    ACTIONS = (
        "get_user_current_date",
        "get_user_current_location",
        "get_historical_temp",
        "get_historical_rain",
        "get_historical_snow",
        "get_snow_forecast",
        "get_current_snow",
        "get_current_temp",
        "get_latitude_longitude",
        "get_elevation",
        "get_temp_forecast",
        "get_rain_forecast",
        "get_current_rain",
        "get_distance",
        "get_historical_air_quality_index",
        "get_current_air_quality_index",
        "get_air_quality_level",
        "check_valid_actions",
        "finish",
    )

    def __init__(self, http: RecordedHttp, today: str, place: str) -> None:
        super().__init__(http)
        self.today, self.place = today, place

    def get_user_current_date(self) -> str:
        """Tells today's date as YYYY-MM-DD."""
        return self.today

    def get_user_current_location(self) -> str:
        """Tells the town the user is in."""
        return self.place

    def get_historical_temp(self, latitude: float, longitude: float, start_date: str, end_date: str) -> Any:
        """Tells the highest, lowest and mean temperature (Celsius) of past days at a place."""
        return self._days(ARCHIVE, latitude, longitude, start_date, end_date, TEMPERATURE)

    def get_historical_rain(self, latitude: float, longitude: float, start_date: str, end_date: str) -> Any:
        """Tells the rain (mm) of past days at a place."""
        return self._days(ARCHIVE, latitude, longitude, start_date, end_date, "rain_sum")

    def get_historical_snow(self, latitude: float, longitude: float, start_date: str, end_date: str) -> Any:
        """Tells the snowfall (cm) of past days at a place."""
        return self._days(ARCHIVE, latitude, longitude, start_date, end_date, "snowfall_sum")

    def get_temp_forecast(self, latitude: float, longitude: float, start_date: str, end_date: str) -> Any:
        """Tells the highest, lowest and mean temperature (Celsius) of coming days at a place."""
        return self._days(ARCHIVE, latitude, longitude, start_date, end_date, TEMPERATURE)

    def get_rain_forecast(self, latitude: float, longitude: float, start_date: str, end_date: str) -> Any:
        """Tells the rain (mm) of coming days at a place."""
        return self._days(ARCHIVE, latitude, longitude, start_date, end_date, "rain_sum")

    def get_snow_forecast(self, latitude: float, longitude: float, start_date: str, end_date: str) -> Any:
        """Tells the snowfall (cm) of coming days at a place."""
        return self._days(ARCHIVE, latitude, longitude, start_date, end_date, "snowfall_sum")

    def get_current_temp(self, latitude: float, longitude: float, current_date: str) -> Any:
        """Tells the highest, lowest and mean temperature (Celsius) of today at a place."""
        return self._days(ARCHIVE, latitude, longitude, current_date, current_date, TEMPERATURE)

    def get_current_rain(self, latitude: float, longitude: float, current_date: str) -> Any:
        """Tells today's rain (mm) at a place."""
        return self._days(ARCHIVE, latitude, longitude, current_date, current_date, "rain_sum")

    def get_current_snow(self, latitude: float, longitude: float, current_date: str) -> Any:
        """Tells today's snowfall (cm) at a place."""
        return self._days(ARCHIVE, latitude, longitude, current_date, current_date, "snowfall_sum")

    def get_historical_air_quality_index(
        self, latitude: float, longitude: float, start_date: str, end_date: str
    ) -> Any:
        """Tells the air quality index (PM2.5) of past days at a place, at noon."""
        return self._hours(latitude, longitude, start_date, end_date)

    def get_current_air_quality_index(self, latitude: float, longitude: float, current_date: str) -> Any:
        """Tells today's air quality index (PM2.5) at a place, at noon."""
        return self._hours(latitude, longitude, current_date, current_date)

    def get_latitude_longitude(self, name: str) -> Any:
        """Tells latitude and longitude of a place by its name."""
        params = {"name": " ".join(name.lower().split())[:100], "count": 3}
        found = self.ask(PLACES, params, "place").get("results", [])
        if not found:
            raise Refused("There is no place of this name.")
        return {field: found[0].get(field) for field in ("name", "latitude", "longitude", "country")}

    def get_elevation(self, latitude: float, longitude: float) -> Any:
        """Tells the height (m) of a place."""
        found = self.ask(HEIGHTS, _place(latitude, longitude), "place")
        return {"elevation": found["elevation"][0]}

    def get_distance(self, latitude1: float, longitude1: float, latitude2: float, longitude2: float) -> float:
        """Tells the distance (km) between two places."""
        ends = (*_place(latitude1, longitude1).values(), *_place(latitude2, longitude2).values())
        return float(Geodesic.WGS84.Inverse(*ends, Geodesic.DISTANCE)["s12"]) / 1000

    def get_air_quality_level(self, air_quality_index: float) -> str:
        """Tells what an air quality index means, from good to extremely poor."""
        return next((name for bound, name in LEVELS if air_quality_index <= bound), "extremely poor")

    def _days(self, url: str, latitude: float, longitude: float, start: str, end: str, what: str) -> Any:
        params = {**_place(latitude, longitude), **_range(start, end), "daily": what, "timezone": "GMT"}
        return self.ask(url, params, "place and time")["daily"]

    def _hours(self, latitude: float, longitude: float, start: str, end: str) -> Any:
        asked = {**_place(latitude, longitude), **_range(start, end), "hourly": "european_aqi_pm2_5"}
        hours = self.ask(AIR, asked, "place and time")["hourly"]
        return {name: values[12::24] for name, values in hours.items()}


class Weather(QueryTools):
    """The weather desk as an environment."""

    def __init__(self, data: str | None = None, records: str | None = None, live: bool = False) -> None:
        """`data`: AgentBoard's folder; `records`: a record file; `live`: ask Open-Meteo for what it lacks."""
        path = record_of("weather", data, records, live)
        super().__init__(
            name="weather",
            world=WeatherDesk,
            data=data,
            http=lambda own: RecordedHttp(own, path=path, live=live),
            begin=_begin,
            version="3",
        )


def _begin(http: RecordedHttp, task: Task) -> WeatherDesk:
    return WeatherDesk(http, task.data["current_date"], task.data["current_location"])


def _place(latitude: float, longitude: float) -> dict[str, float]:
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise Refused("Latitude goes from -90 to 90, longitude from -180 to 180.")
    return {"latitude": float(latitude), "longitude": float(longitude)}


def _range(start: str, end: str) -> dict[str, str]:
    try:
        first, last = date.fromisoformat(start.strip()), date.fromisoformat(end.strip())
    except ValueError:
        raise Refused("A date is no date; write dates as YYYY-MM-DD.") from None
    if not 0 <= (last - first).days <= LONGEST_RANGE:
        raise Refused(f"The days must be in order and at most {LONGEST_RANGE}.")
    return {"start_date": first.isoformat(), "end_date": last.isoformat()}
