// What the Flight SQL client of arrow-go makes of pondflight.
//
// Arguments: address, token. Prints a line for each check: its name, then "ok" or what went wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// connection is a client with its context, which carries the token; cookies keep its session.
type connection struct {
	*flightsql.Client
	context.Context
}

var address, token string

func main() {
	address, token = os.Args[1], os.Args[2]
	for _, check := range []struct {
		name string
		run  func(connection) error
	}{
		{"query", query},
		{"basic_handshake", basicHandshake},
		{"update", update},
		{"prepared_query", preparedQuery},
		{"prepared_update", preparedUpdate},
		{"transactions", transactions},
		{"ingest", ingest},
		{"types", types},
		{"metadata_schemas", metadataSchemas},
		{"metadata_catalogs", metadataCatalogs},
		{"metadata_tables", metadataTables},
		{"metadata_keys", metadataKeys},
		{"metadata_xdbc_types", metadataXdbcTypes},
		{"metadata_sql_info", metadataSQLInfo},
		{"sessions_by_cookie", sessionsByCookie},
		{"sessions_by_token", sessionsByToken},
		{"session_options", sessionOptions},
		{"cancel_running", cancelRunning},
		{"cancel_before_fetch", cancelBeforeFetch},
		{"cancel_by_context", cancelByContext},
		{"renew_endpoint", renewEndpoint},
		{"not_implemented", notImplemented},
		{"error_codes", errorCodes},
	} {
		outcome := "ok"
		if err := attempt(check.run); err != nil {
			outcome = strings.Join(strings.Fields(err.Error()), " ")
		}
		fmt.Printf("check %s: %s\n", check.name, outcome)
	}
}

func attempt(run func(connection) error) (err error) {
	c, cancel, err := open()
	if err != nil {
		return err
	}
	defer cancel()
	defer c.Client.Close()
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic: %v", reason)
		}
	}()
	return run(c)
}

func open() (connection, context.CancelFunc, error) {
	client, err := flightsql.NewClient(
		address,
		nil,
		[]flight.ClientMiddleware{flight.NewClientCookieMiddleware()},
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	return connection{client, ctx}, cancel, err
}

func query(c connection) error {
	if err := c.expect("SELECT 42 AS n", "[[42]]"); err != nil {
		return err
	}
	schema, err := c.GetExecuteSchema(c, "SELECT 1::BIGINT AS n, 'x' AS s")
	if err != nil {
		return err
	}
	found, err := flight.DeserializeSchema(schema.GetSchema(), memory.DefaultAllocator)
	if err != nil {
		return err
	}
	return equal("n int64 s utf8", columns(found))
}

func basicHandshake(connection) error {
	client, err := flightsql.NewClient(
		address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, err := client.Client.AuthenticateBasicToken(context.Background(), "token", token)
	if err != nil {
		return err
	}
	if err := (connection{client, ctx}).expect("SELECT 42", "[[42]]"); err != nil {
		return err
	}
	_, err = client.Client.AuthenticateBasicToken(context.Background(), "somebody", token)
	return fails(codes.Unauthenticated, "authentication failed", err)
}

func update(c connection) error {
	for _, one := range []struct {
		sql   string
		count int64
	}{
		{"CREATE OR REPLACE TABLE go_update (i INTEGER)", 0},
		{"INSERT INTO go_update VALUES (1), (2), (3)", 3},
		{"DELETE FROM go_update WHERE i = 1", 1},
	} {
		count, err := c.ExecuteUpdate(c, one.sql)
		if err != nil {
			return err
		}
		if err := equal(one.count, count); err != nil {
			return err
		}
	}
	return c.expect("FROM go_update ORDER BY i", "[[2 3]]")
}

func preparedQuery(c connection) error {
	prepared, err := c.Prepare(c, "SELECT range::INTEGER AS i FROM range(10) WHERE range > ? AND 'a' = ?")
	if err != nil {
		return err
	}
	defer prepared.Close(c)
	if isUpdate, known := prepared.IsUpdate(); isUpdate || !known {
		return fmt.Errorf("is_update: %v, %v", isUpdate, known)
	}
	if err := equal("i int32", columns(prepared.DatasetSchema())); err != nil {
		return err
	}
	if err := equal("1 int64 2 utf8", columns(prepared.ParameterSchema())); err != nil {
		return err
	}
	for _, low := range []int64{7, 8} {
		row := record(prepared.ParameterSchema(), fmt.Sprintf(`[{"1": %d, "2": "a"}]`, low))
		prepared.SetParameters(row)
		info, err := prepared.Execute(c)
		if err != nil {
			return err
		}
		found, err := c.fetch(info)
		if err != nil {
			return err
		}
		if err := equal(map[int64]string{7: "[[8 9]]", 8: "[[9]]"}[low], found); err != nil {
			return err
		}
	}
	return nil
}

func preparedUpdate(c connection) error {
	if _, err := c.ExecuteUpdate(c, "CREATE OR REPLACE TABLE go_prepared (i INTEGER, s VARCHAR)"); err != nil {
		return err
	}
	prepared, err := c.Prepare(c, "INSERT INTO go_prepared VALUES (?, ?)")
	if err != nil {
		return err
	}
	defer prepared.Close(c)
	rows := record(prepared.ParameterSchema(), `[{"1": 1, "2": "a"}, {"1": 2, "2": null}]`)
	prepared.SetParameters(rows)
	count, err := prepared.ExecuteUpdate(c)
	if err != nil {
		return err
	}
	if err := equal(int64(2), count); err != nil {
		return err
	}
	return c.expect("FROM go_prepared ORDER BY i", "[[1 2] [\"a\" (null)]]")
}

func transactions(c connection) error {
	if _, err := c.ExecuteUpdate(c, "CREATE OR REPLACE TABLE go_tx (i INTEGER)"); err != nil {
		return err
	}
	for _, commit := range []bool{false, true} {
		tx, err := c.BeginTransaction(c)
		if err != nil {
			return err
		}
		if _, err := tx.ExecuteUpdate(c, "INSERT INTO go_tx VALUES (1)"); err != nil {
			return err
		}
		end := tx.Rollback
		if commit {
			end = tx.Commit
		}
		if err := end(c); err != nil {
			return err
		}
		expected := map[bool]string{false: "[[0]]", true: "[[1]]"}[commit]
		if err := c.expect("SELECT count(*) FROM go_tx", expected); err != nil {
			return err
		}
	}
	return nil
}

func ingest(c connection) error {
	if err := c.expect("SELECT 1", "[[1]]"); err != nil { // gets the session's cookie
		return err
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	rows := record(schema, `[{"n": 1}, {"n": 2}]`)
	for _, expected := range []string{"[[2]]", "[[4]]"} {
		reader, err := array.NewRecordReader(schema, []arrow.RecordBatch{rows})
		if err != nil {
			return err
		}
		count, err := c.ExecuteIngest(c, reader, &flightsql.ExecuteIngestOpts{
			Table:     "go_ingest",
			Temporary: true,
			TableDefinitionOptions: &flightsql.TableDefinitionOptions{
				IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionCreate,
				IfExists:   flightsql.TableDefinitionOptionsTableExistsOptionAppend,
			},
		})
		if err != nil {
			return err
		}
		if err := equal(int64(2), count); err != nil {
			return err
		}
		if err := c.expect("SELECT count(*) FROM go_ingest", expected); err != nil {
			return err
		}
	}
	return nil
}

func types(c connection) error {
	for sql, expected := range map[string]string{
		"170141183460469231731687303715884105727::HUGEINT": "v decimal(38, 0)",
		"1.5::DECIMAL(4,1)":                            "v decimal(4, 1)",
		"'b'::ENUM('a', 'b')":                          "v utf8",
		"TIMETZ '12:30:00+02'":                         "v utf8",
		"TIMESTAMPTZ '2024-02-29 12:30:00+02'":         "v timestamp[us, tz=UTC]",
		"INTERVAL '14 months 2 days'":                  "v month_day_nano_interval",
		"[1, 2]":                                       "v list<l: int32, nullable>",
		"MAP {'k': [1.5]}":                             "v map<utf8, list<l: decimal(2, 1), nullable>, items_nullable>",
		"union_value(num := 1)":                        "v sparse_union<num: type=int32, nullable=0>",
		"'12345678-1234-5678-1234-567812345678'::UUID": "v utf8",
	} {
		info, err := c.Execute(c, "SELECT "+sql+" AS v")
		if err != nil {
			return err
		}
		reader, err := c.DoGet(c, info.GetEndpoint()[0].GetTicket())
		if err != nil {
			return err
		}
		found := columns(reader.Schema())
		reader.Release()
		if err := equal(expected, found); err != nil {
			return err
		}
	}
	return nil
}

// metadataSchemas compares the schemas of the lists with those of the specification.
func metadataSchemas(c connection) error {
	type call func(context.Context, ...grpc.CallOption) (*flight.SchemaResult, error)
	for _, one := range []struct {
		get      call
		expected *arrow.Schema
	}{
		{c.GetCatalogsSchema, schema_ref.Catalogs},
		{c.GetDBSchemasSchema, schema_ref.DBSchemas},
		{c.GetTableTypesSchema, schema_ref.TableTypes},
		{c.GetPrimaryKeysSchema, schema_ref.PrimaryKeys},
		{c.GetImportedKeysSchema, schema_ref.ImportedKeys},
		{c.GetExportedKeysSchema, schema_ref.ExportedKeys},
		{c.GetCrossReferenceSchema, schema_ref.CrossReference},
		{c.GetXdbcTypeInfoSchema, schema_ref.XdbcTypeInfo},
		{
			func(ctx context.Context, opts ...grpc.CallOption) (*flight.SchemaResult, error) {
				return c.GetTablesSchema(ctx, &flightsql.GetTablesOpts{IncludeSchema: true}, opts...)
			},
			schema_ref.TablesWithIncludedSchema,
		},
		{
			func(ctx context.Context, opts ...grpc.CallOption) (*flight.SchemaResult, error) {
				return c.GetTablesSchema(ctx, &flightsql.GetTablesOpts{}, opts...)
			},
			schema_ref.Tables,
		},
	} {
		result, err := one.get(c)
		if err != nil {
			return err
		}
		found, err := flight.DeserializeSchema(result.GetSchema(), memory.DefaultAllocator)
		if err != nil {
			return err
		}
		if !found.Equal(one.expected) {
			return fmt.Errorf("expected %v, got %v", one.expected, found)
		}
	}
	return nil
}

const tables = `
	CREATE SCHEMA IF NOT EXISTS go_meta;
	DROP TABLE IF EXISTS go_meta.child;
	CREATE OR REPLACE TABLE go_meta.parent (id INTEGER PRIMARY KEY, price DECIMAL(9,3));
	CREATE TABLE go_meta.child (parent INTEGER REFERENCES go_meta.parent (id))`

func metadataCatalogs(c connection) error {
	if _, err := c.ExecuteUpdate(c, tables); err != nil {
		return err
	}
	if err := c.expectInfo("memory")(c.GetCatalogs(c)); err != nil {
		return err
	}
	pattern := "go%"
	options := &flightsql.GetDBSchemasOpts{DbSchemaFilterPattern: &pattern}
	if err := c.expectInfo(`[["memory"] ["go_meta"]]`)(c.GetDBSchemas(c, options)); err != nil {
		return err
	}
	return c.expectInfo(`[["TABLE" "VIEW"]]`)(c.GetTableTypes(c))
}

func metadataTables(c connection) error {
	if _, err := c.ExecuteUpdate(c, tables); err != nil {
		return err
	}
	pattern := "go_meta"
	options := &flightsql.GetTablesOpts{DbSchemaFilterPattern: &pattern, TableTypes: []string{"TABLE"}}
	expected := `[["memory" "memory"] ["go_meta" "go_meta"] ["child" "parent"] ["TABLE" "TABLE"]]`
	if err := c.expectInfo(expected)(c.GetTables(c, options)); err != nil {
		return err
	}
	name := "parent"
	options = &flightsql.GetTablesOpts{TableNameFilterPattern: &name, IncludeSchema: true}
	info, err := c.GetTables(c, options)
	if err != nil {
		return err
	}
	reader, err := c.DoGet(c, info.GetEndpoint()[0].GetTicket())
	if err != nil {
		return err
	}
	defer reader.Release()
	if !reader.Next() {
		return fmt.Errorf("no table: %w", reader.Err())
	}
	data := reader.RecordBatch().Column(4).(*array.Binary).Value(0)
	schema, err := flight.DeserializeSchema(data, memory.DefaultAllocator)
	if err != nil {
		return err
	}
	if err := equal("id int32 price decimal(9, 3)", columns(schema)); err != nil {
		return err
	}
	price := flightsql.ColumnMetadata{Data: &schema.Fields()[1].Metadata}
	typeName, _ := price.TypeName()
	scale, _ := price.Scale()
	table, _ := price.TableName()
	return equal("DECIMAL(9,3) 3 parent", fmt.Sprint(typeName, " ", scale, " ", table))
}

func metadataKeys(c connection) error {
	if _, err := c.ExecuteUpdate(c, tables); err != nil {
		return err
	}
	schema := "go_meta"
	parent := flightsql.TableRef{DBSchema: &schema, Table: "parent"}
	child := flightsql.TableRef{DBSchema: &schema, Table: "child"}
	expected := `["memory"] ["go_meta"] ["parent"] ["id"] [1]`
	if err := c.expectInfo(expected)(c.GetPrimaryKeys(c, parent)); err != nil {
		return err
	}
	expected = `["parent"] ["id"] ["memory"] ["go_meta"] ["child"] ["parent"] [1]`
	if err := c.expectInfo(expected)(c.GetImportedKeys(c, child)); err != nil {
		return err
	}
	if err := c.expectInfo(expected)(c.GetExportedKeys(c, parent)); err != nil {
		return err
	}
	return c.expectInfo(expected)(c.GetCrossReference(c, parent, child))
}

func metadataXdbcTypes(c connection) error {
	if err := c.expectInfo(`"BIGINT"`)(c.GetXdbcTypeInfo(c, nil)); err != nil {
		return err
	}
	date := int32(91)
	return c.expectInfo(`[["DATE"] [91] [10]`)(c.GetXdbcTypeInfo(c, &date))
}

func metadataSQLInfo(c connection) error {
	info, err := c.GetSqlInfo(c, nil)
	if err != nil {
		return err
	}
	reader, err := c.DoGet(c, info.GetEndpoint()[0].GetTicket())
	if err != nil {
		return err
	}
	defer reader.Release()
	count := 0
	for reader.Next() {
		batch := reader.RecordBatch()
		ids := batch.Column(0).(*array.Uint32)
		values := batch.Column(1).(*array.DenseUnion)
		for i := range ids.Len() {
			value := array.NewSlice(values.Field(values.ChildID(i)), int64(values.ValueOffset(i)), int64(values.ValueOffset(i))+1)
			text := fmt.Sprint(value)
			value.Release()
			expected, known := map[uint32]string{
				0: `["pondflight"]`, 3: "[false]", 8: "[1]", 504: `["\""]`, 562: "[3]", 564: "[8]",
			}[ids.Value(i)]
			if known && text != expected {
				return fmt.Errorf("info %d: expected %s, got %s", ids.Value(i), expected, text)
			}
			count++
		}
	}
	return equal(91, count)
}

// sessionsByCookie begins with a call that has one answer: the cookie middleware sees the headers of
// no other kind of call before the end of its stream, and ExecuteUpdate does not read that far.
func sessionsByCookie(c connection) error {
	other, cancel, err := open()
	if err != nil {
		return err
	}
	defer cancel()
	defer other.Client.Close()
	for i, one := range []connection{c, other} {
		sql := fmt.Sprintf("CREATE TEMP TABLE go_temp AS SELECT %d AS i", i)
		if _, err := one.Execute(one, sql); err != nil {
			return err
		}
		if err := one.expect("FROM go_temp", fmt.Sprintf("[[%d]]", i)); err != nil {
			return err
		}
	}
	return sessionsDiffer(c, other)
}

func sessionsByToken(connection) error {
	var both []connection
	for i := range 2 {
		client, err := flightsql.NewClient(
			address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer client.Close()
		ctx, err := client.Client.AuthenticateBasicToken(context.Background(), "token", token)
		if err != nil {
			return err
		}
		sql := fmt.Sprintf("CREATE TEMP TABLE go_temp AS SELECT %d AS i", i)
		if _, err := client.ExecuteUpdate(ctx, sql); err != nil {
			return err
		}
		both = append(both, connection{client, ctx})
	}
	return sessionsDiffer(both[0], both[1])
}

func sessionsDiffer(c, other connection) error {
	for _, one := range []connection{c, other} {
		for _, sql := range []string{"BEGIN", "INSERT INTO go_temp VALUES (7)"} {
			if _, err := one.ExecuteUpdate(one, sql); err != nil {
				return err
			}
		}
	}
	if err := c.expect("FROM go_temp", "[[0 7]]"); err != nil {
		return err
	}
	if _, err := other.ExecuteUpdate(other, "ROLLBACK"); err != nil {
		return err
	}
	return other.expect("FROM go_temp", "[[1]]")
}

func sessionOptions(c connection) error {
	if _, err := c.Execute(c, "CREATE SCHEMA IF NOT EXISTS go_options"); err != nil {
		return err
	}
	options, err := flight.NewSessionOptionValues(map[string]any{
		"catalog": "memory", "schema": "go_options", "TimeZone": "Europe/Paris",
		"statement_timeout": int64(30000), "nonsense": "x",
	})
	if err != nil {
		return err
	}
	result, err := c.SetSessionOptions(c, &flight.SetSessionOptionsRequest{SessionOptions: options})
	if err != nil {
		return err
	}
	if len(result.GetErrors()) != 1 || result.GetErrors()["nonsense"] == nil {
		return fmt.Errorf("errors: %v", result.GetErrors())
	}
	expected := `[["memory"] ["go_options"] ["Europe/Paris"]]`
	sql := "SELECT current_database(), current_schema(), current_setting('TimeZone')"
	if err := c.expect(sql, expected); err != nil {
		return err
	}
	found, err := c.GetSessionOptions(c, &flight.GetSessionOptionsRequest{})
	if err != nil {
		return err
	}
	timeout := found.GetSessionOptions()["statement_timeout"].GetInt64Value()
	if err := equal(int64(30000), timeout); err != nil {
		return err
	}
	closed, err := c.CloseSession(c, &flight.CloseSessionRequest{})
	if err != nil {
		return err
	}
	if closed.GetStatus() != flight.CloseSessionResultClosed {
		return fmt.Errorf("status: %v", closed.GetStatus())
	}
	return c.expect("SELECT current_schema()", `[["main"]]`)
}

const endless = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"

func cancelRunning(c connection) error {
	info, err := c.Execute(c, endless)
	if err != nil {
		return err
	}
	failure := make(chan error, 1)
	go func() {
		_, err := c.fetch(info)
		failure <- err
	}()
	time.Sleep(time.Second)
	started := time.Now()
	result, err := c.CancelFlightInfo(c, &flight.CancelFlightInfoRequest{Info: info})
	if err != nil {
		return err
	}
	if result.GetStatus() != flight.CancelStatusCancelled {
		return fmt.Errorf("status: %v", result.GetStatus())
	}
	if err := fails(codes.Canceled, "the statement was cancelled", <-failure); err != nil {
		return err
	}
	if time.Since(started) > 5*time.Second {
		return errors.New("cancelled too late")
	}
	return nil
}

func cancelBeforeFetch(c connection) error {
	info, err := c.Execute(c, "SELECT 1")
	if err != nil {
		return err
	}
	result, err := c.CancelQuery(c, info)
	if err != nil {
		return err
	}
	if result != flightsql.CancelResultCancelled {
		return fmt.Errorf("result: %v", result)
	}
	_, err = c.fetch(info)
	return fails(codes.Canceled, "the statement was cancelled", err)
}

func cancelByContext(c connection) error {
	info, err := c.Execute(c, endless)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, time.Second)
	defer cancel()
	if _, err := (connection{c.Client, ctx}).fetch(info); err == nil {
		return errors.New("no error")
	}
	return c.expect("SELECT 1", "[[1]]")
}

func renewEndpoint(c connection) error {
	info, err := c.Execute(c, "SELECT 42")
	if err != nil {
		return err
	}
	request := &flight.RenewFlightEndpointRequest{Endpoint: info.GetEndpoint()[0]}
	endpoint, err := c.RenewFlightEndpoint(c, request)
	if err != nil {
		return err
	}
	info.Endpoint = []*flight.FlightEndpoint{endpoint}
	found, err := c.fetch(info)
	if err != nil {
		return err
	}
	return equal("[[42]]", found)
}

func notImplemented(c connection) error {
	plan := flightsql.SubstraitPlan{Plan: []byte("x"), Version: "1"}
	if _, err := c.ExecuteSubstrait(c, plan); err != nil {
		if err := fails(codes.Unimplemented, "Substrait", err); err != nil {
			return err
		}
	}
	tx, err := c.BeginTransaction(c)
	if err != nil {
		return err
	}
	_, err = tx.BeginSavepoint(c, "here")
	if err := fails(codes.Unimplemented, "savepoint", err); err != nil {
		return err
	}
	return tx.Rollback(c)
}

func errorCodes(c connection) error {
	_, err := c.Execute(c, "SELEC 1")
	if err := fails(codes.InvalidArgument, "syntax error", err); err != nil {
		return err
	}
	_, err = c.DoGet(c, &flight.Ticket{Ticket: []byte("nonsense")})
	if err := fails(codes.InvalidArgument, "not a ticket", err); err != nil {
		return err
	}
	_, err = flightsql.NewPreparedStatement(c.Client, []byte("nonsense")).Execute(c)
	if err := fails(codes.NotFound, "unknown handle", err); err != nil {
		return err
	}
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer wrong")
	_, err = c.Execute(ctx, "SELECT 1")
	return fails(codes.Unauthenticated, "authentication failed", err)
}

// helpers

func (c connection) fetch(info *flight.FlightInfo) (string, error) {
	var parts []string
	for _, endpoint := range info.GetEndpoint() {
		reader, err := c.DoGet(c, endpoint.GetTicket())
		if err != nil {
			return "", err
		}
		defer reader.Release()
		for reader.Next() {
			var found []string
			for _, column := range reader.RecordBatch().Columns() {
				found = append(found, fmt.Sprint(column))
			}
			parts = append(parts, "["+strings.Join(found, " ")+"]")
		}
		if err := reader.Err(); err != nil {
			return "", err
		}
	}
	return strings.Join(parts, ""), nil
}

func (c connection) expect(sql, expected string) error {
	info, err := c.Execute(c, sql)
	if err != nil {
		return err
	}
	found, err := c.fetch(info)
	if err != nil {
		return err
	}
	return equal(expected, found)
}

// expectInfo checks that the rows behind a FlightInfo have a text in them.
func (c connection) expectInfo(part string) func(*flight.FlightInfo, error) error {
	return func(info *flight.FlightInfo, err error) error {
		if err != nil {
			return err
		}
		found, err := c.fetch(info)
		if err != nil {
			return err
		}
		if !strings.Contains(found, part) {
			return fmt.Errorf("expected %s in %s", part, found)
		}
		return nil
	}
}

func record(schema *arrow.Schema, rows string) arrow.RecordBatch {
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		panic(err)
	}
	return batch
}

func columns(schema *arrow.Schema) string {
	var found []string
	for _, field := range schema.Fields() {
		found = append(found, field.Name+" "+field.Type.String())
	}
	return strings.Join(slices.Clip(found), " ")
}

func equal[T comparable](expected, found T) error {
	if expected != found {
		return fmt.Errorf("expected %v, got %v", expected, found)
	}
	return nil
}

func fails(code codes.Code, text string, err error) error {
	if status.Code(err) != code || !strings.Contains(fmt.Sprint(err), text) {
		return fmt.Errorf("expected %v with %q, got %v", code, text, err)
	}
	return nil
}
