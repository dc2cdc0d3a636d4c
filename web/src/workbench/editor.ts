// The SQL editor: CodeMirror in a shadow root, where its styles need no inline <style>.

import { autocompletion, closeBrackets, closeBracketsKeymap, closeCompletion, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { type SQLNamespace, SQLDialect, sql } from "@codemirror/lang-sql";
import { HighlightStyle, bracketMatching, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, setDiagnostics } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, Prec } from "@codemirror/state";
import { EditorView, drawSelection, highlightActiveLine, keymap, lineNumbers, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import type { Position } from "../lib/http";
import { quote } from "../lib/names";
import type { Catalog } from "./tree";

const KEYWORDS =
  "add all alter analyze and anti any array as asc asof attach begin between by call cascade case cast checkpoint collate column columns commit constraint copy create cross cube current database default delete desc describe detach distinct drop else end escape except exclude exists explain export extension false fetch filter first following for foreign from full generated glob group grouping having if ignore ilike import in index inner insert install intersect interval into is isnull join key lambda last lateral left like limit load macro map materialized natural not notnull null nulls of offset on only or order ordinality outer over partition pivot positional pragma preceding prepare primary qualify range recursive references rename replace reset respect returning right rollback rollup row rows sample schema select semi sequence set sets show similar some struct summarize table tables tablesample temp temporary then ties to transaction true truncate try_cast type unbounded union unique unnest unpivot update use using vacuum values view virtual when where window with within";
const TYPES =
  "bigint bit blob bool boolean char date datetime decimal double float hugeint int integer interval json list map numeric real smallint string struct text time timestamp timestamptz tinyint ubigint uhugeint uinteger union usmallint utinyint uuid varchar";
const FUNCTIONS =
  "abs age any_value approx_count_distinct approx_quantile arg_max arg_min array_agg avg bar bit_count bool_and bool_or ceil chr coalesce concat concat_ws contains corr count count_if covar_pop cume_dist current_date current_timestamp date_add date_diff date_part date_sub date_trunc dayname dayofweek dense_rank ends_with entropy epoch epoch_ms exp extract first first_value flatten floor format generate_series greatest hash histogram hour if ifnull initcap instr json_extract json_extract_string kurtosis lag last last_day last_value lead least left length levenshtein list list_aggregate list_contains list_distinct list_filter list_sort list_transform ln log log10 lower lpad ltrim make_date make_timestamp max max_by md5 median min min_by minute mode month monthname now nth_value ntile nullif percent_rank pi power printf quantile_cont quantile_disc quarter random range rank read_csv read_json read_parquet regexp_extract regexp_full_match regexp_matches regexp_replace repeat replace reverse right round row_number rpad rtrim second sign skewness split_part sqrt starts_with stddev string_agg string_split strftime strip_accents strlen strptime struct_extract substr substring sum time_bucket to_days to_timestamp today trim trunc typeof unnest upper uuid var_pop variance week year yearweek";

const DuckDB = SQLDialect.define({
  keywords: KEYWORDS,
  types: TYPES,
  builtin: FUNCTIONS,
  doubleDollarQuotedStrings: true,
  caseInsensitiveIdentifiers: true,
  operatorChars: "+-*/%^<>=!&|~@?:",
});

const style = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--syntax-keyword)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--syntax-string)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--syntax-number)" },
  { tag: [tags.typeName, tags.standard(tags.name)], color: "var(--syntax-function)" },
  { tag: [tags.lineComment, tags.blockComment], color: "var(--syntax-comment)", fontStyle: "italic" },
  { tag: tags.operator, color: "var(--muted)" },
]);

const theme = EditorView.theme({
  "&": { height: "100%", backgroundColor: "transparent", color: "var(--ink)", fontSize: "13.5px" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.6" },
  ".cm-content": { padding: "12px 0", caretColor: "var(--accent)" },
  ".cm-line": { padding: "0 14px 0 6px" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--muted)", border: "none", paddingLeft: "6px" },
  ".cm-activeLine": { backgroundColor: "var(--line-active)" },
  ".cm-activeLineGutter": { backgroundColor: "transparent", color: "var(--ink)" },
  ".cm-cursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--selection)" },
  ".cm-matchingBracket": { backgroundColor: "var(--selection) !important", outline: "none" },
  ".cm-placeholder": { color: "var(--muted)" },
  ".cm-tooltip": { backgroundColor: "var(--raised)", border: "1px solid var(--line-strong)", borderRadius: "8px", boxShadow: "var(--shadow)", color: "var(--ink)", overflow: "hidden" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", fontSize: "12.5px", maxHeight: "14em" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "3px 10px" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
  ".cm-completionDetail": { color: "inherit", opacity: "0.7", fontStyle: "normal" },
  ".cm-diagnostic": { padding: "6px 10px", fontFamily: "var(--sans)", whiteSpace: "pre-wrap" },
  ".cm-diagnostic-error": { borderLeft: "3px solid var(--danger)" },
  ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--danger)", textUnderlineOffset: "3px" },
  ".cm-panels": { backgroundColor: "var(--raised)", color: "var(--ink)", borderColor: "var(--line)" },
});

const KEY = "pondflight.sql";
const KEPT_CHARACTERS = 200_000;

// A browser that types over a selection keeps its style, inline, which our policy does not allow.
// Brackets and quotes are left to closeBrackets, which puts them around the selection.
const typeOver = EditorView.domEventHandlers({
  beforeinput: (event, view) => {
    const { data, inputType, isComposing } = event;
    const plain = inputType === "insertText" && data !== null && /^[^()[\]{}'"`]+$/.test(data);
    if (!plain || isComposing || view.state.selection.main.empty) return false;
    view.dispatch(view.state.replaceSelection(data), { userEvent: "input.type", scrollIntoView: true });
    event.preventDefault();
    return true;
  },
});

export class Editor {
  private readonly view: EditorView;
  private readonly language = new Compartment();

  constructor(host: HTMLElement, actions: { run: () => void; initial: string; user: string }) {
    const key = `${KEY}.${actions.user}`;
    const root = host.attachShadow({ mode: "open" });
    this.view = new EditorView({
      parent: root,
      root,
      state: EditorState.create({
        // A tab keeps its own text; a new one begins with the last of all.
        doc: sessionStorage.getItem(key) ?? localStorage.getItem(key) ?? actions.initial,
        extensions: [
          Prec.highest(
            keymap.of([
              { key: "Mod-Enter", run: (view) => this.finish(view, actions.run) },
              { key: "Shift-Enter", run: (view) => this.finish(view, actions.run) },
            ]),
          ),
          lineNumbers(),
          history(),
          drawSelection(),
          highlightActiveLine(),
          highlightSelectionMatches(),
          bracketMatching(),
          closeBrackets(),
          typeOver,
          indentUnit.of("  "),
          autocompletion({ icons: false, maxRenderedOptions: 60 }),
          syntaxHighlighting(style),
          theme,
          this.language.of(sql({ dialect: DuckDB, upperCaseKeywords: true })),
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ "aria-label": "SQL editor. Ctrl+Enter runs. Escape, then Tab leaves." }),
          placeholder("SELECT …"),
          keymap.of([
            ...closeBracketsKeymap,
            ...completionKeymap,
            ...searchKeymap,
            ...historyKeymap,
            indentWithTab,
            ...defaultKeymap,
          ]),
          EditorView.updateListener.of((update) => {
            if (!update.docChanged) return;
            const text = update.state.doc.toString().slice(0, KEPT_CHARACTERS);
            for (const storage of [sessionStorage, localStorage]) storage.setItem(key, text);
          }),
        ],
      }),
    });
  }

  private finish(view: EditorView, run: () => void): boolean {
    closeCompletion(view);
    run();
    return true;
  }

  /** The selected text, or all of it. */
  get sql(): string {
    const { from, to } = this.view.state.selection.main;
    return from === to ? this.view.state.doc.toString() : this.view.state.sliceDoc(from, to);
  }

  /** Where the text that runs begins in the document. */
  get offset(): number {
    const { from, to } = this.view.state.selection.main;
    return from === to ? 0 : from;
  }

  set(text: string): void {
    this.view.dispatch({
      changes: { from: 0, to: this.view.state.doc.length, insert: text },
      selection: { anchor: text.length },
    });
  }

  insert(text: string): void {
    this.view.dispatch(this.view.state.replaceSelection(text));
    this.view.focus();
  }

  focus(): void {
    this.view.focus();
  }

  complete(catalog: Catalog): void {
    const schema = namespace(catalog);
    this.view.dispatch({
      effects: this.language.reconfigure(sql({ dialect: DuckDB, upperCaseKeywords: true, schema })),
    });
  }

  mark(message: string | null, position?: Position, base = 0): void {
    const { doc } = this.view.state;
    const marks: Diagnostic[] = [];
    if (message !== null && position !== undefined) {
      const from = Math.min(doc.length, base + position.offset);
      const word = /^[\w"$]+|^./.exec(doc.sliceString(from, from + 80))?.[0] ?? "";
      marks.push({ from, to: Math.min(doc.length, from + Math.max(1, word.length)), severity: "error", message });
    }
    this.view.dispatch(setDiagnostics(this.view.state, marks));
  }
}

function namespace(catalog: Catalog): SQLNamespace {
  const found: Record<string, SQLNamespace> = {};
  for (const table of catalog.tables.slice(0, 5000)) {
    const columns = table.columns.map((c) => ({ label: c.name, apply: quote(c.name), detail: c.type.toLowerCase(), type: "property" }));
    const entry: SQLNamespace = {
      self: { label: table.name, apply: quote(table.name), detail: table.kind, type: "class" },
      children: columns,
    };
    if (table.database === "memory" && table.schema === "main") {
      found[table.name] = entry;
      continue;
    }
    const database = (found[table.database] ??= {}) as Record<string, SQLNamespace>;
    if (table.schema === "main") {
      database[table.name] = entry;
    } else {
      const schema = (database[table.schema] ??= {}) as Record<string, SQLNamespace>;
      schema[table.name] = entry;
    }
  }
  return found;
}
