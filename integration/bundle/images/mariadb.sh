# As the entrypoint of the official image: a database and its user, and the files of initdb.d, once.
set -eu
data=/var/lib/mysql-ours
if [ ! -d "$data/mysql" ]; then
  install -d -o mysql -g mysql -m 700 "$data"
  mariadb-install-db --no-defaults --user=mysql --datadir="$data" --skip-test-db \
    --auth-root-authentication-method=normal >/dev/null
  {
    echo "CREATE DATABASE \`$MARIADB_DATABASE\`; USE \`$MARIADB_DATABASE\`;"
    echo "CREATE USER '$MARIADB_USER'@'%' IDENTIFIED BY '$MARIADB_PASSWORD';"
    echo "GRANT ALL ON \`$MARIADB_DATABASE\`.* TO '$MARIADB_USER'@'%';"
    cat /docker-entrypoint-initdb.d/*.sql
    echo "ALTER USER root@localhost IDENTIFIED VIA unix_socket;"
  } > /tmp/init.sql
  mariadbd --no-defaults --user=mysql --datadir="$data" --skip-networking --socket=/tmp/init.sock &
  until mariadb --no-defaults --socket=/tmp/init.sock -u root -e 'SELECT 1' >/dev/null 2>&1; do
    sleep 0.2
  done
  mariadb --no-defaults --socket=/tmp/init.sock -u root < /tmp/init.sql
  mariadb-admin --no-defaults --socket=/tmp/init.sock -u root shutdown
  wait
  rm /tmp/init.sql
fi
exec mariadbd --no-defaults --user=mysql --datadir="$data" --bind-address=0.0.0.0 --socket=/tmp/mysql.sock
