-- A flight at its scheduled departure, from what was known by then. Days are numbered from 1970 in UTC. A row with
-- `for_day` holds what was known before that day began, so an observation that joins on its own day can only look back.
WITH days AS (
  SELECT unnest(range(1, 29)) AS ahead
),
flown_by_day AS (
  SELECT f.carrier, f.origin, f.dest, CAST(floor(epoch(l.known_at) / 86400) AS INTEGER) AS known_day,
    sum(l.label) AS minutes, sum(f.distance) AS miles, count(*) AS flown
  FROM labels l
  JOIN flights f USING (flight_id)
  GROUP BY f.carrier, f.origin, f.dest, known_day
),
route_days AS (
  SELECT origin, dest, known_day + ahead AS for_day,
    sum(minutes) / sum(flown) AS minutes_28d,
    sum(CASE WHEN ahead <= 2 THEN minutes END) / sum(CASE WHEN ahead <= 2 THEN flown END) AS minutes_2d
  FROM (SELECT origin, dest, known_day, sum(minutes) AS minutes, sum(flown) AS flown FROM flown_by_day GROUP BY ALL), days
  GROUP BY origin, dest, for_day
),
dest_days AS (
  SELECT dest, known_day + ahead AS for_day,
    sum(minutes) / sum(miles) AS pace_28d,
    sum(CASE WHEN ahead <= 2 THEN minutes END) / sum(CASE WHEN ahead <= 2 THEN miles END) AS pace_2d
  FROM (SELECT dest, known_day, sum(minutes) AS minutes, sum(miles) AS miles FROM flown_by_day GROUP BY ALL), days
  GROUP BY dest, for_day
),
carrier_days AS (
  SELECT carrier, known_day + ahead AS for_day, sum(minutes) / sum(miles) AS pace
  FROM (SELECT carrier, known_day, sum(minutes) AS minutes, sum(miles) AS miles FROM flown_by_day GROUP BY ALL), days
  GROUP BY carrier, for_day
),
asked AS (
  SELECT *,
    CAST(floor(epoch(event_time) / 86400) AS INTEGER) AS asked_day,
    CAST(floor((epoch(event_time) - 1) / 3600) AS INTEGER) - 1 AS weather_hour
  FROM observations
)
SELECT
  o.flight_id,
  o.event_time,
  isodow(TRY(make_date(o.year, o.month, o.day))) AS weekday,
  o.hour + o.minute / 60.0 AS departs,
  o.carrier,
  o.origin,
  o.dest,
  o.distance,
  (o.sched_arr_time // 100 * 60 + o.sched_arr_time % 100 - o.hour * 60 - o.minute + 1440) % 1440
    - 60 * (d.tz + 5) AS block_minutes,
  d.lat AS dest_lat,
  d.lon AS dest_lon,
  w.temp,
  w.wind_dir,
  w.wind_speed,
  w.precip,
  w.pressure,
  w.visib,
  p.seats,
  p.engine,
  r.minutes_28d AS route_minutes_28d,
  r.minutes_2d AS route_minutes_2d,
  t.pace_28d AS dest_pace_28d,
  t.pace_2d AS dest_pace_2d,
  c.pace AS carrier_pace_28d
FROM asked o
LEFT JOIN weather w
  ON w.origin = o.origin AND CAST(floor(epoch(w.event_time) / 3600) AS INTEGER) = o.weather_hour
  AND w.known_at < o.event_time
LEFT JOIN planes p ON p.tailnum = o.tailnum
LEFT JOIN airports d ON d.faa = o.dest
LEFT JOIN route_days r ON r.origin = o.origin AND r.dest = o.dest AND r.for_day = o.asked_day
LEFT JOIN dest_days t ON t.dest = o.dest AND t.for_day = o.asked_day
LEFT JOIN carrier_days c ON c.carrier = o.carrier AND c.for_day = o.asked_day
