-- A shop's orders. The role that pondflight uses may read them, and nothing else.
CREATE TABLE orders (
    id bigint PRIMARY KEY,
    customer_id bigint NOT NULL,
    product text NOT NULL,
    amount numeric(10, 2) NOT NULL,
    ordered_at timestamptz NOT NULL
);

INSERT INTO orders
SELECT
    n,
    n % 500 + 1,
    (ARRAY['heron feeder', 'pond net', 'water lily', 'duck house'])[n % 4 + 1],
    round(5 + n % 97 * 1.25, 2),
    timestamptz '2026-01-01 00:00:00+00' + n * interval '7 minutes'
FROM generate_series(1, 20000) AS n;

\getenv password POSTGRES_PASSWORD
CREATE ROLE reader LOGIN PASSWORD :'password';
GRANT CONNECT ON DATABASE shop TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
