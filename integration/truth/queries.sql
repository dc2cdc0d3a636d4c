-- all artists
SELECT artist_id, name FROM artist ORDER BY artist_id
-- artists by name
SELECT name FROM artist ORDER BY name, artist_id
-- artists of a letter
SELECT artist_id, name FROM artist WHERE name LIKE 'A%' ORDER BY artist_id
-- one artist
SELECT artist_id FROM artist WHERE name = 'AC/DC'
-- an artist with an accent
SELECT artist_id, name FROM artist WHERE name = 'Antônio Carlos Jobim'
-- artists before a name
SELECT count(*) AS n FROM artist WHERE name < 'Os Mutantes'
-- the last artists
SELECT artist_id, name FROM artist ORDER BY artist_id DESC LIMIT 7
-- albums and artists
SELECT al.title, ar.name FROM album al JOIN artist ar ON ar.artist_id = al.artist_id ORDER BY al.album_id
-- albums of an artist
SELECT al.title FROM album al JOIN artist ar ON ar.artist_id = al.artist_id WHERE ar.name = 'Iron Maiden' ORDER BY al.title
-- artists without albums
SELECT ar.artist_id, ar.name FROM artist ar LEFT JOIN album al ON al.artist_id = ar.artist_id WHERE al.album_id IS NULL ORDER BY ar.artist_id
-- artists without albums, as EXISTS
SELECT count(*) AS n FROM artist ar WHERE NOT EXISTS (SELECT 1 FROM album al WHERE al.artist_id = ar.artist_id)
-- artists without albums, as NOT IN
SELECT count(*) AS n FROM artist WHERE artist_id NOT IN (SELECT artist_id FROM album)
-- albums of the busiest artists
SELECT ar.name, count(*) AS albums FROM artist ar JOIN album al ON al.artist_id = ar.artist_id GROUP BY ar.artist_id, ar.name HAVING count(*) > 5 ORDER BY albums DESC, ar.name
-- tracks of a genre
SELECT count(*) AS n FROM track t JOIN genre g ON g.genre_id = t.genre_id WHERE g.name = 'Jazz'
-- genres by tracks
SELECT g.name, count(t.track_id) AS tracks FROM genre g LEFT JOIN track t ON t.genre_id = g.genre_id GROUP BY g.genre_id, g.name ORDER BY tracks DESC, g.name
-- longest tracks
SELECT name, milliseconds FROM track ORDER BY milliseconds DESC, track_id LIMIT 10
-- shortest tracks
SELECT name, milliseconds FROM track ORDER BY milliseconds, track_id LIMIT 10 OFFSET 5
-- average length by media type
SELECT m.name, CAST(avg(t.milliseconds) AS DOUBLE) AS length FROM media_type m JOIN track t ON t.media_type_id = m.media_type_id GROUP BY m.name ORDER BY m.name
-- composers
SELECT DISTINCT composer FROM track WHERE composer IS NOT NULL ORDER BY composer LIMIT 40
-- how many composers
SELECT count(DISTINCT composer) AS composers, count(composer) AS known, count(*) AS tracks FROM track
-- tracks without composer
SELECT count(*) AS n FROM track WHERE composer IS NULL
-- composers of many tracks
SELECT composer, count(*) AS n FROM track GROUP BY composer HAVING count(*) >= 20 ORDER BY n DESC, composer
-- tracks whose name is that of an album
SELECT t.track_id, t.name FROM track t JOIN album al ON al.title = t.name ORDER BY t.track_id, al.album_id
-- tracks whose name occurs twice
SELECT name, count(*) AS n FROM track GROUP BY name HAVING count(*) > 1 ORDER BY n DESC, name
-- tracks named like another
SELECT count(*) AS n FROM track a JOIN track b ON a.name = b.name AND a.track_id < b.track_id
-- prices
SELECT unit_price, count(*) AS n FROM track GROUP BY unit_price ORDER BY unit_price
-- expensive tracks
SELECT count(*) AS n FROM track WHERE unit_price > 1.50
-- size of a genre in bytes
SELECT g.name, sum(t.bytes) AS bytes FROM track t JOIN genre g ON g.genre_id = t.genre_id GROUP BY g.name ORDER BY g.name
-- playlists
SELECT p.playlist_id, p.name, count(pt.track_id) AS tracks FROM playlist p LEFT JOIN playlist_track pt ON pt.playlist_id = p.playlist_id GROUP BY p.playlist_id, p.name ORDER BY p.playlist_id
-- tracks on many playlists
SELECT track_id, count(*) AS n FROM playlist_track GROUP BY track_id HAVING count(*) > 4 ORDER BY n DESC, track_id
-- customers of a country
SELECT first_name, last_name, city FROM customer WHERE country = 'Brazil' ORDER BY customer_id
-- customers of some countries
SELECT customer_id, country FROM customer WHERE country IN ('France', 'Germany', 'USA') ORDER BY country, customer_id
-- customers outside
SELECT count(*) AS n FROM customer WHERE country NOT IN ('USA', 'Canada')
-- customers by country
SELECT country, count(*) AS n FROM customer GROUP BY country ORDER BY n DESC, country
-- customers by name
SELECT last_name, first_name FROM customer ORDER BY last_name, first_name
-- customers without a company
SELECT customer_id, coalesce(company, '(private)') AS company FROM customer ORDER BY customer_id
-- customers by state, those without first
SELECT customer_id, state FROM customer ORDER BY CASE WHEN state IS NULL THEN 0 ELSE 1 END, state, customer_id LIMIT 35
-- full names
SELECT first_name || ' ' || last_name AS name FROM customer WHERE email LIKE '%@gmail.com' ORDER BY customer_id
-- cities with customers and invoices
SELECT c.city, count(*) AS invoices FROM customer c JOIN invoice i ON i.billing_city = c.city GROUP BY c.city ORDER BY c.city
-- customers and their agents
SELECT c.customer_id, e.first_name, e.last_name FROM customer c LEFT JOIN employee e ON e.employee_id = c.support_rep_id ORDER BY c.customer_id
-- employees and their bosses
SELECT e.last_name, b.last_name AS boss FROM employee e LEFT JOIN employee b ON b.employee_id = e.reports_to ORDER BY e.employee_id
-- hired before
SELECT employee_id, hire_date FROM employee WHERE hire_date < '2003-06-01' ORDER BY hire_date, employee_id
-- the youngest employee
SELECT employee_id, birth_date FROM employee WHERE birth_date = (SELECT max(birth_date) FROM employee)
-- sales by year
SELECT year(invoice_date) AS sold, count(*) AS invoices, sum(total) AS total FROM invoice GROUP BY year(invoice_date) ORDER BY sold
-- sales of a quarter
SELECT count(*) AS n, min(total) AS least, max(total) AS most FROM invoice WHERE invoice_date >= '2009-01-01' AND invoice_date < '2009-04-01'
-- sales by country
SELECT billing_country, sum(total) AS total FROM invoice GROUP BY billing_country ORDER BY total DESC, billing_country LIMIT 5
-- dear invoices
SELECT invoice_id, total FROM invoice WHERE total BETWEEN 10 AND 20 ORDER BY total DESC, invoice_id
-- best customers
SELECT c.customer_id, c.last_name, round(sum(i.total), 2) AS total FROM customer c JOIN invoice i ON i.customer_id = c.customer_id GROUP BY c.customer_id, c.last_name ORDER BY total DESC, c.customer_id LIMIT 10
-- best artists
SELECT ar.name, sum(il.quantity) AS sold FROM invoice_line il JOIN track t ON t.track_id = il.track_id JOIN album al ON al.album_id = t.album_id JOIN artist ar ON ar.artist_id = al.artist_id GROUP BY ar.name ORDER BY sold DESC, ar.name LIMIT 15
-- tracks never sold
SELECT count(*) AS n FROM track t LEFT JOIN invoice_line il ON il.track_id = t.track_id WHERE il.invoice_line_id IS NULL
-- invoices whose lines add up
SELECT i.invoice_id FROM invoice i JOIN invoice_line il ON il.invoice_id = i.invoice_id GROUP BY i.invoice_id, i.total HAVING abs(sum(il.unit_price * il.quantity) - i.total) < 0.001 ORDER BY i.invoice_id
-- invoices above the average
SELECT count(*) AS n FROM invoice WHERE total > (SELECT avg(total) FROM invoice)
-- each customer's last invoice
SELECT customer_id, invoice_id, total FROM (SELECT customer_id, invoice_id, total, row_number() OVER (PARTITION BY customer_id ORDER BY invoice_date DESC, invoice_id DESC) AS place FROM invoice) AS ranked WHERE place = 1 ORDER BY customer_id
-- running total of a customer
SELECT invoice_id, sum(total) OVER (ORDER BY invoice_id) AS so_far FROM invoice WHERE customer_id = 17 ORDER BY invoice_id
-- genres of a customer
WITH bought AS (SELECT i.customer_id, t.genre_id FROM invoice i JOIN invoice_line il ON il.invoice_id = i.invoice_id JOIN track t ON t.track_id = il.track_id) SELECT g.name, count(*) AS n FROM bought b JOIN genre g ON g.genre_id = b.genre_id WHERE b.customer_id = 5 GROUP BY g.name ORDER BY n DESC, g.name
-- rock listeners
SELECT DISTINCT c.email FROM customer c JOIN invoice i ON i.customer_id = c.customer_id JOIN invoice_line il ON il.invoice_id = i.invoice_id JOIN track t ON t.track_id = il.track_id JOIN genre g ON g.genre_id = t.genre_id WHERE g.name = 'Rock' ORDER BY c.email
-- places of customers and of employees
SELECT city FROM customer UNION SELECT city FROM employee ORDER BY city
-- countries without employees
SELECT country FROM customer EXCEPT SELECT country FROM employee ORDER BY country
-- first and last names
SELECT min(last_name) AS first, max(last_name) AS last, min(email) AS lowest, max(email) AS highest FROM customer
-- phrases in names of tracks
SELECT track_id, name FROM track WHERE name LIKE '%Love%' OR name LIKE '%love%' ORDER BY track_id
