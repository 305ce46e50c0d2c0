/* Events: what clients, combiners and the reducer said, as it is said. */
import { list, quietly } from './api.js';
import { fill } from './dom.js';
import { dateTime, instant } from './format.js';
import { listen } from './live.js';
import { card, clientLink, dataLinks, field, title } from './parts.js';
import { Table } from './table.js';

const FIRST = 1000; // the newest, at the start
const MAX = 5000; // kept in the page

const role = (row) => (row.sender?.role || '').toLowerCase();

export async function show(root, { signal }) {
  const table = new Table({
    label: 'Events',
    sort: ['timestamp', true],
    empty: 'Nothing has been said yet.',
    columns: [
      { key: 'timestamp', title: 'Timestamp', value: (r) => r.timestamp ?? r.committed_at,
        cell: (r) => dateTime(instant(r.timestamp ?? r.committed_at)) },
      { key: 'sender', title: 'Sender', value: (r) => r.sender?.name || r.sender?.client_id,
        cell: (r) => (role(r) === 'client' && r.sender.client_id
          ? clientLink(r.sender.client_id, r.sender.name) : r.sender?.name) },
      { key: 'role', title: 'Role', value: role },
      { key: 'status', title: 'Status', value: (r) => (r.status ?? '').trim(),
        text: (r) => `${r.type} ${r.log_level}` },
    ],
  });
  const follow = field('Follow', { type: 'checkbox', checked: true });
  fill(root, title('Events'),
    card('Events', { wide: true, links: dataLinks('Events', 'statuses/'), tools: follow }, table.node));
  let rows = [];
  const loads = new Set(); // of each that is under way: what is said meanwhile
  const load = async () => {
    const meanwhile = [];
    loads.add(meanwhile);
    try {
      const stored = await list('statuses', { limit: FIRST, signal });
      const known = new Set(stored.map((row) => row.status_id));
      rows = [...meanwhile.filter((row) => !known.has(row.status_id)), ...stored];
      table.set(rows);
    } finally {
      loads.delete(meanwhile);
    }
  };
  follow.input.addEventListener('change', () => follow.input.checked && quietly(load()));
  listen((kind, data) => {
    if (!follow.input.checked) return;
    if (kind === 'whole') quietly(load());
    if (kind === 'status') {
      rows.unshift(data);
      for (const meanwhile of loads) meanwhile.unshift(data);
      rows.length = Math.min(rows.length, MAX);
      table.set(rows);
    }
  }, signal);
  await load();
}
