/* A table for thousands of rows: only those in sight are in the page. Sorted by its headings,
 * filtered by a text; the keyboard scrolls it.
 *
 * A column is {key, title, value(row), cell(row), numeric}: value is what is sorted and searched
 * (default: row[key]), cell what is shown (text or a node; default: the value).
 */
import { fill, h, soon } from './dom.js';
import { NONE, number } from './format.js';

const SPARE = 12; // rows kept above and below those in sight

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined || a === '') return 1; // nothing comes last
  if (b === null || b === undefined || b === '') return -1;
  return typeof a === 'number' && typeof b === 'number' ? a - b : collator.compare(String(a), String(b));
}

export class Table {
  /* options: label, columns, sort: [key, isDescending], empty: text, filter: false for none */
  constructor({ label, columns, sort, empty = 'Nothing yet.', filter = true }) {
    this.columns = columns;
    this.rows = [];
    this.shown = [];
    [this.sortKey, this.isDescending] = sort ?? [null, false];
    this.words = [];
    this.emptyText = empty;
    this.rowHeight = 0;
    this.headings = columns.map((column) => this.heading(column));
    this.before = h('tr', { 'aria-hidden': 'true' }, h('td', { class: 'gap', colspan: columns.length }));
    this.after = h('tr', { 'aria-hidden': 'true' }, h('td', { class: 'gap', colspan: columns.length }));
    this.body = h('tbody');
    this.table = h('table', {}, h('caption', { class: 'hidden' }, label),
      h('thead', {}, h('tr', {}, this.headings)), this.body);
    this.frame = h('div', { class: 'frame', tabindex: '0', role: 'region', 'aria-label': label },
      this.table);
    this.frame.addEventListener('scroll', soon(() => this.draw()), { passive: true });
    this.count = h('span', { class: 'note', role: 'status' });
    this.input = h('input', { type: 'search', placeholder: 'Filter', 'aria-label': `Filter ${label}` });
    this.input.addEventListener('input', () => {
      this.words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.frame.scrollTop = 0;
      this.arrange();
    });
    this.node = h('div', { class: 'table' },
      filter && h('div', { class: 'filter' }, this.input, this.count), this.frame);
    this.arrangeSoon = soon(() => this.arrange());
    this.markSort();
  }

  heading(column) {
    const button = h('button', { type: 'button', onclick: () => this.sortBy(column.key) }, column.title);
    return h('th', { scope: 'col', class: column.numeric ? 'number' : null, 'data-key': column.key }, button);
  }

  sortBy(key) {
    this.isDescending = this.sortKey === key ? !this.isDescending : false;
    this.sortKey = key;
    this.markSort();
    this.arrange();
  }

  markSort() {
    for (const th of this.headings) {
      const isSorted = th.dataset.key === this.sortKey;
      th.setAttribute('aria-sort',
        !isSorted ? 'none' : this.isDescending ? 'descending' : 'ascending');
    }
  }

  valueOf(column, row) {
    return column.value ? column.value(row) : row[column.key];
  }

  /* Other rows; shown in the next frame. */
  set(rows) {
    this.rows = rows;
    this.arrangeSoon();
  }

  matches(row) {
    if (this.words.length === 0) return true;
    const text = this.columns
      .map((c) => `${this.valueOf(c, row) ?? ''} ${c.text ? c.text(row) : ''}`).join(' ').toLowerCase();
    return this.words.every((word) => text.includes(word));
  }

  arrange() {
    this.shown = this.rows.filter((row) => this.matches(row));
    const column = this.columns.find((c) => c.key === this.sortKey);
    if (column) {
      const sign = this.isDescending ? -1 : 1;
      const keyed = this.shown.map((row) => [this.valueOf(column, row), row]);
      keyed.sort((a, b) => sign * compare(a[0], b[0]));
      this.shown = keyed.map((pair) => pair[1]);
    }
    this.table.setAttribute('aria-rowcount', String(this.shown.length + 1));
    const all = this.rows.length;
    this.count.textContent = this.words.length > 0
      ? `${number(this.shown.length)} of ${number(all)}` : `${number(all)} in all`;
    this.draw();
  }

  makeRow(row, index) {
    return h('tr', { 'aria-rowindex': index + 2 }, this.columns.map((column) => {
      const shown = column.cell ? column.cell(row) : this.valueOf(column, row);
      const content = shown === null || shown === undefined || shown === '' ? NONE : shown;
      return h('td', { class: column.numeric ? 'number' : null },
        typeof content === 'number' ? number(content) : content);
    }));
  }

  draw() {
    if (this.shown.length === 0) {
      fill(this.body, h('tr', {}, h('td', { class: 'none', colspan: this.columns.length },
        this.words.length > 0 && this.rows.length > 0 ? 'Nothing matches.' : this.emptyText)));
      return;
    }
    const height = this.rowHeight || 40;
    const first = Math.max(0, Math.floor(this.frame.scrollTop / height) - SPARE);
    const n = Math.ceil((this.frame.clientHeight || 480) / height) + 2 * SPARE;
    const last = Math.min(this.shown.length, first + n);
    this.before.firstChild.style.height = `${first * height}px`;
    this.after.firstChild.style.height = `${(this.shown.length - last) * height}px`;
    fill(this.body, first > 0 && this.before,
      this.shown.slice(first, last).map((row, i) => this.makeRow(row, first + i)),
      last < this.shown.length && this.after);
    if (!this.rowHeight) {
      this.rowHeight = this.body.querySelector('tr[aria-rowindex]').getBoundingClientRect().height;
      if (this.rowHeight && Math.abs(this.rowHeight - height) > 0.5) this.draw();
    }
  }
}
