//! What the Flight SQL client of arrow-rs makes of pondflight.
//!
//! Arguments: address, token. Prints a line for each check: its name, then "ok" or what went wrong.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arrow_array::types::Int64Type;
use arrow_array::{cast::AsArray, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetTables, CommandStatementIngest};
use arrow_flight::sql::{TableDefinitionOptions, TableExistsOption, TableNotExistOption};
use arrow_flight::FlightInfo;
use arrow_schema::{DataType, Field, Schema};
use futures::{stream, TryStreamExt};
use tonic::transport::{Channel, Endpoint};

type Client = FlightSqlServiceClient<Channel>;
type Outcome = Result<(), Box<dyn Error>>;
type Check = for<'a> fn(&'a mut Client) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

const CHECKS: [(&str, Check); 9] = [
    ("query", |c| Box::pin(query(c))),
    ("default_message_limit", |c| {
        Box::pin(default_message_limit(c))
    }),
    ("update", |c| Box::pin(update(c))),
    ("update_as_query", |c| Box::pin(update_as_query(c))),
    ("prepared_query", |c| Box::pin(prepared_query(c))),
    ("prepared_update", |c| Box::pin(prepared_update(c))),
    ("transactions", |c| Box::pin(transactions(c))),
    ("ingest", |c| Box::pin(ingest(c))),
    ("tables", |c| Box::pin(tables(c))),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().collect();
    let endpoint = Endpoint::from_shared(format!("http://{}", arguments[1]))?;
    for (name, check) in CHECKS {
        let mut client = FlightSqlServiceClient::new(endpoint.connect().await?);
        client.handshake("token", &arguments[2]).await?;
        match check(&mut client).await {
            Ok(()) => println!("check {name}: ok"),
            Err(error) => println!("check {name}: {error}"),
        }
    }
    Ok(())
}

/// All rows behind a FlightInfo.
async fn rows(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let mut found = Vec::new();
    for endpoint in info.endpoint {
        let ticket = endpoint.ticket.ok_or("an endpoint has no ticket")?;
        let batches: Vec<RecordBatch> = client.do_get(ticket).await?.try_collect().await?;
        found.extend(batches);
    }
    Ok(found)
}

/// The one number that `sql` gives.
async fn number(client: &mut Client, sql: &str) -> Result<i64, Box<dyn Error>> {
    let info = client.execute(sql.to_string(), None).await?;
    let batches = rows(client, info).await?;
    let batch = batches.iter().find(|b| b.num_rows() > 0).ok_or("no row")?;
    Ok(batch.column(0).as_primitive::<Int64Type>().value(0))
}

fn expect<T: PartialEq + std::fmt::Debug>(got: T, wanted: T) -> Outcome {
    if got == wanted {
        return Ok(());
    }
    Err(format!("got {got:?}, wanted {wanted:?}").into())
}

async fn query(client: &mut Client) -> Outcome {
    expect(number(client, "SELECT 42::BIGINT").await?, 42)
}

/// tonic takes messages of 4 MiB.
async fn default_message_limit(client: &mut Client) -> Outcome {
    let sql = "SELECT repeat('x', 1000) AS s FROM range(30000)";
    let info = client.execute(sql.to_string(), None).await?;
    let batches = rows(client, info).await?;
    expect(batches.iter().map(RecordBatch::num_rows).sum(), 30_000)
}

async fn update(client: &mut Client) -> Outcome {
    client
        .execute_update("CREATE OR REPLACE TABLE u (i BIGINT)".into(), None)
        .await?;
    let count = client
        .execute_update("INSERT INTO u VALUES (1), (2)".into(), None)
        .await?;
    expect(count, 2)
}

/// What changes tables may come as a query, too; it runs once, and has no rows.
async fn update_as_query(client: &mut Client) -> Outcome {
    client
        .execute_update("CREATE OR REPLACE TABLE q (i BIGINT)".into(), None)
        .await?;
    let info = client
        .execute("INSERT INTO q VALUES (1), (2)".into(), None)
        .await?;
    expect(info.endpoint.len(), 1)?;
    let batches = rows(client, info).await?;
    expect(batches.iter().map(RecordBatch::num_rows).sum(), 0)?;
    expect(number(client, "SELECT count(*) FROM q").await?, 2)
}

fn numbers(values: Vec<i64>) -> Result<RecordBatch, Box<dyn Error>> {
    let column: ArrayRef = Arc::new(Int64Array::from(values));
    Ok(RecordBatch::try_from_iter([("1", column)])?)
}

async fn prepared_query(client: &mut Client) -> Outcome {
    let sql = "SELECT range FROM range(10) WHERE range > ? ORDER BY 1";
    let mut statement = client.prepare(sql.to_string(), None).await?;
    statement.set_parameters(numbers(vec![7])?)?;
    let info = statement.execute().await?;
    let batches = rows(client, info).await?;
    expect(batches.iter().map(RecordBatch::num_rows).sum(), 2)?;
    Ok(statement.close().await?)
}

async fn prepared_update(client: &mut Client) -> Outcome {
    client
        .execute_update("CREATE OR REPLACE TABLE p (i BIGINT)".into(), None)
        .await?;
    let mut plain = client
        .prepare("INSERT INTO p VALUES (1)".into(), None)
        .await?;
    expect(plain.execute_update().await?, 1)?;
    let mut bound = client
        .prepare("INSERT INTO p VALUES (?)".into(), None)
        .await?;
    bound.set_parameters(numbers(vec![2, 3, 4])?)?;
    expect(bound.execute_update().await?, 3)?;
    let mut delete = client
        .prepare("DELETE FROM p WHERE i < ?".into(), None)
        .await?;
    delete.set_parameters(numbers(vec![3])?)?;
    expect(delete.execute_update().await?, 2)?;
    expect(number(client, "SELECT sum(i)::BIGINT FROM p").await?, 7)
}

async fn transactions(client: &mut Client) -> Outcome {
    use arrow_flight::sql::EndTransaction::{Commit, Rollback};
    client
        .execute_update("CREATE OR REPLACE TABLE t (i BIGINT)".into(), None)
        .await?;
    for (end, rows) in [(Rollback, 0), (Commit, 1)] {
        let transaction = client.begin_transaction().await?;
        let sql = "INSERT INTO t VALUES (1)".to_string();
        client
            .execute_update(sql, Some(transaction.clone()))
            .await?;
        client.end_transaction(transaction, end).await?;
        expect(number(client, "SELECT count(*) FROM t").await?, rows)?;
    }
    Ok(())
}

async fn ingest(client: &mut Client) -> Outcome {
    let schema = Schema::new(vec![
        Field::new("i", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(StringArray::from(vec![Some("a"), None])),
    ];
    let batch = RecordBatch::try_new(Arc::new(schema), columns)?;
    let command = CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: TableNotExistOption::Create.into(),
            if_exists: TableExistsOption::Replace.into(),
        }),
        table: "ingested".into(),
        schema: None,
        catalog: None,
        temporary: false,
        transaction_id: None,
        options: Default::default(),
    };
    let count = client
        .execute_ingest(command, stream::iter([Ok(batch)]))
        .await?;
    expect(count, 2)
}

async fn tables(client: &mut Client) -> Outcome {
    client
        .execute_update("CREATE OR REPLACE TABLE listed (i BIGINT)".into(), None)
        .await?;
    let request = CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: Some("main".into()),
        table_name_filter_pattern: Some("listed".into()),
        table_types: vec!["TABLE".into()],
        include_schema: true,
    };
    let info = client.get_tables(request).await?;
    let batches = rows(client, info).await?;
    expect(batches.iter().map(RecordBatch::num_rows).sum(), 1)
}
