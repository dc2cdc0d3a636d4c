-- The shop's customers.
CREATE TABLE customers (
    id bigint PRIMARY KEY,
    name varchar(60) NOT NULL,
    country char(2) NOT NULL
);

INSERT INTO customers
SELECT seq, concat('customer ', seq), elt(seq % 5 + 1, 'AT', 'DE', 'FI', 'NL', 'SE')
FROM seq_1_to_500;
