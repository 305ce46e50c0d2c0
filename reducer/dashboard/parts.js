/* What pages are made of: headings, cards, links to data, states. */
import { API, query } from './api.js';
import { fill, h } from './dom.js';

/* A state as a word with a colour: never the colour alone. */
const TONES = {
  online: 'good', admitted: 'good', counted: 'good', Finished: 'good', committed: 'good',
  asked: 'busy', Started: 'busy', Pending: 'busy', open: 'busy', planning: 'busy', closing: 'busy',
  available: 'off', offline: 'off', gone: 'off', Created: 'off', 'no answer': 'warn',
  silent: 'warn', Terminated: 'warn', refused: 'bad', Failed: 'bad',
};

export const toneOf = (state) => TONES[state] ?? 'off';

export function badge(state) {
  return h('span', { class: 'badge', 'data-tone': toneOf(state) }, state || '–');
}

export const title = (text, ...aside) => h('div', { class: 'title' }, h('h1', {}, text), ...aside);

let nHeadings = 0;

/* A section with its heading; `links` and `tools` stand at its right. */
export function card(text, { note, links, tools, wide } = {}, ...children) {
  const id = `h${(nHeadings += 1)}`;
  return h('section', { class: wide ? 'card wide' : 'card', 'aria-labelledby': id },
    h('div', { class: 'head' },
      h('div', {}, h('h2', { id }, text), note && h('p', { class: 'note' }, note)),
      h('div', { class: 'tools' }, tools, links)),
    ...children);
}

/* CSV and JSON of what is shown. `set(path, values)` points them elsewhere. */
export function dataLinks(what, path, values = {}) {
  const csv = h('a', { download: true, 'aria-label': `${what} as CSV` }, 'CSV');
  const json = h('a', { 'aria-label': `${what} as JSON` }, 'JSON');
  const node = h('span', { class: 'data' }, csv, json);
  node.set = (newPath, newValues = {}) => {
    csv.href = `${API}/${newPath}${query({ ...newValues, format: 'csv' })}`;
    json.href = `${API}/${newPath}${query(newValues)}`;
  };
  node.set(path, values);
  return node;
}

export const empty = (text, ...more) => h('div', { class: 'empty' }, h('p', {}, text), ...more);

export const clientLink = (id, name) =>
  h('a', { href: `/dashboard/clients/${encodeURIComponent(id)}` }, name || id);
export const modelLink = (id, text) =>
  h('a', { href: `/dashboard/models/${encodeURIComponent(id)}`, title: id }, text);
export const roundLink = (id, text) =>
  h('a', { href: `/dashboard/rounds/${encodeURIComponent(id)}` }, text);

/* The round that made a model, by its number within the session. Models of former versions know no
 * more than its id, which counts over all sessions. */
export const madeIn = (model) =>
  roundLink(model.round_id, model.round_number ?? `ID ${model.round_id}`);

/* Terms and what they are. */
export function facts(pairs) {
  return h('dl', { class: 'facts' },
    pairs.map(([term, value]) => h('div', {}, h('dt', {}, term), h('dd', {}, value))));
}

let nFields = 0;

/* A labelled select; options are [value, text]. */
export function select(label, options, { onchange, value } = {}) {
  const id = `f${(nFields += 1)}`;
  const input = h('select', { id, onchange: () => onchange?.(input.value) });
  const node = h('div', { class: 'field' }, h('label', { for: id }, label), input);
  node.set = (newOptions, newValue) => {
    fill(input, newOptions.map(([v, text]) => h('option', { value: v }, text)));
    if (newValue !== undefined && newValue !== null) input.value = newValue;
  };
  node.input = input;
  node.set(options, value);
  return node;
}

/* A labelled input with a hint below. */
export function field(label, attributes, hint) {
  const id = `f${(nFields += 1)}`;
  const input = h('input', { id, 'aria-describedby': hint && `${id}h`, ...attributes });
  const node = attributes.type === 'checkbox'
    ? h('div', { class: 'field check' }, h('div', {}, input, h('label', { for: id }, label)),
      hint && h('p', { class: 'note', id: `${id}h` }, hint))
    : h('div', { class: 'field' }, h('label', { for: id }, label), input,
      hint && h('p', { class: 'note', id: `${id}h` }, hint));
  node.input = input;
  return node;
}
