-- A flight at its scheduled departure, from what was known by then. Days and hours are numbered from 1970 in UTC. A row
-- with `for_day` or `for_hour` holds what was known before that day or hour began, so an observation that joins on its
-- own number can only look back. The month is left out on purpose: within one year it says nothing about the next.
WITH days AS (
  SELECT unnest(range(1, 29)) AS ahead
),
hours AS (
  SELECT unnest(range(1, 5)) AS ahead
),
outcomes AS (
  SELECT f.flight_id, f.carrier, f.tailnum, f.origin, f.dest, a.dep_delay, a.arr_delay, a.known_at,
    CAST(floor(epoch(a.known_at) / 3600) AS INTEGER) AS known_hour,
    CAST(floor(epoch(a.known_at) / 86400) AS INTEGER) AS known_day
  FROM arrivals a
  JOIN flights f USING (flight_id)
),
late_by_day AS (
  SELECT f.carrier, f.origin, f.dest, CAST(floor(epoch(l.known_at) / 86400) AS INTEGER) AS known_day,
    sum(l.label) AS late, count(*) AS arrived
  FROM labels l
  JOIN flights f USING (flight_id)
  GROUP BY f.carrier, f.origin, f.dest, known_day
),
carrier_days AS (
  SELECT carrier, known_day + ahead AS for_day, sum(late) / sum(arrived) AS late_rate
  FROM (SELECT carrier, known_day, sum(late) AS late, sum(arrived) AS arrived FROM late_by_day GROUP BY ALL), days
  GROUP BY carrier, for_day
),
route_days AS (
  SELECT origin, dest, known_day + ahead AS for_day, sum(late) / sum(arrived) AS late_rate, sum(arrived) AS arrived
  FROM (SELECT origin, dest, known_day, sum(late) AS late, sum(arrived) AS arrived FROM late_by_day GROUP BY ALL), days
  GROUP BY origin, dest, for_day
),
dest_days AS (
  SELECT dest, known_day + ahead AS for_day, sum(late) / sum(arrived) AS late_rate
  FROM (SELECT dest, known_day, sum(late) AS late, sum(arrived) AS arrived FROM late_by_day GROUP BY ALL), days
  GROUP BY dest, for_day
),
origin_days AS (
  SELECT origin, known_day + ahead AS for_day, sum(late) / sum(arrived) AS late_rate
  FROM (SELECT origin, known_day, sum(late) AS late, sum(arrived) AS arrived FROM late_by_day GROUP BY ALL), days
  GROUP BY origin, for_day
),
origin_hours AS (
  SELECT origin, known_hour + ahead AS for_hour, avg(arr_delay) AS arr_delay, avg(dep_delay) AS dep_delay,
    avg(CAST(arr_delay >= 15 AS DOUBLE)) AS late_rate
  FROM outcomes, hours
  GROUP BY origin, for_hour
),
carrier_hours AS (
  SELECT carrier, origin, known_hour + ahead AS for_hour, avg(dep_delay) AS dep_delay
  FROM outcomes, hours
  GROUP BY carrier, origin, for_hour
),
silent_hours AS (
  SELECT f.origin, CAST(floor(epoch(f.event_time) / 3600) AS INTEGER) + ahead AS for_hour,
    avg(CASE WHEN epoch(a.known_at) < (floor(epoch(f.event_time) / 3600) + ahead) * 3600 THEN 0.0 ELSE 1.0 END) AS silent
  FROM flights f
  CROSS JOIN hours
  LEFT JOIN arrivals a USING (flight_id)
  WHERE ahead > 1
  GROUP BY f.origin, for_hour
),
legs AS (
  SELECT tailnum, known_day + ahead - 1 AS for_day,
    list({arr_delay: arr_delay, known: epoch(known_at)} ORDER BY known_at, flight_id) AS legs
  FROM outcomes, hours
  WHERE ahead <= 2 AND arr_delay IS NOT NULL
  GROUP BY tailnum, for_day
),
asked AS (
  SELECT *,
    CAST(floor(epoch(event_time) / 3600) AS INTEGER) AS asked_hour,
    CAST(floor(epoch(event_time) / 86400) AS INTEGER) AS asked_day,
    CAST(floor((epoch(event_time) - 1) / 3600) AS INTEGER) - 1 AS weather_hour
  FROM observations
),
before AS (
  SELECT o.*, list_filter(l.legs, lambda leg: leg.known < epoch(o.event_time)) AS legs
  FROM asked o
  LEFT JOIN legs l ON l.tailnum = o.tailnum AND l.for_day = o.asked_day
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
  w.temp,
  w.humid,
  w.wind_dir,
  w.wind_speed,
  w.wind_gust,
  w.precip,
  w.pressure,
  w.visib,
  o.year - p.year AS plane_age,
  p.seats,
  p.engine,
  c.late_rate AS carrier_late_28d,
  r.late_rate AS route_late_28d,
  r.arrived AS route_arrived_28d,
  t.late_rate AS dest_late_28d,
  g.late_rate AS origin_late_28d,
  h.late_rate AS origin_late_4h,
  h.arr_delay AS origin_arr_delay_4h,
  h.dep_delay AS origin_dep_delay_4h,
  k.dep_delay AS carrier_dep_delay_4h,
  s.silent AS origin_silent_4h,
  o.legs[-1].arr_delay AS leg_arr_delay,
  (epoch(o.event_time) - o.legs[-1].known) / 3600 AS leg_hours,
  coalesce(len(o.legs), 0) AS legs_2d
FROM before o
LEFT JOIN weather w
  ON w.origin = o.origin AND CAST(floor(epoch(w.event_time) / 3600) AS INTEGER) = o.weather_hour
  AND w.known_at < o.event_time
LEFT JOIN planes p ON p.tailnum = o.tailnum
LEFT JOIN airports d ON d.faa = o.dest
LEFT JOIN carrier_days c ON c.carrier = o.carrier AND c.for_day = o.asked_day
LEFT JOIN route_days r ON r.origin = o.origin AND r.dest = o.dest AND r.for_day = o.asked_day
LEFT JOIN dest_days t ON t.dest = o.dest AND t.for_day = o.asked_day
LEFT JOIN origin_days g ON g.origin = o.origin AND g.for_day = o.asked_day
LEFT JOIN origin_hours h ON h.origin = o.origin AND h.for_hour = o.asked_hour
LEFT JOIN carrier_hours k ON k.carrier = o.carrier AND k.origin = o.origin AND k.for_hour = o.asked_hour
LEFT JOIN silent_hours s ON s.origin = o.origin AND s.for_hour = o.asked_hour
