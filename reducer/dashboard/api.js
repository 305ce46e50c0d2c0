/* The reducer's REST API. A refusal is an Error with the server's own words. */
export const API = '/api/v1';

/* A computer that changes its network breaks what is on the way: what changes nothing is asked once
 * more. */
async function fetchSafely(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (options.method !== 'GET' || options.signal?.aborted) throw error;
    await new Promise((resolve) => { setTimeout(resolve, 250); });
    return fetch(path, options).catch((again) => {
      again.isExpected = true; // the server is away: the corner says so
      throw again;
    });
  }
}

/* For work that nobody waits for, begun by an event: that its page has been left, that the server is
 * away or refuses, is no fault of ours. When it is back, everything is loaded anew. */
export function quietly(promise) {
  promise.catch((error) => {
    if (error.name !== 'AbortError' && !error.isExpected) throw error;
  });
}

async function request(method, path, { body, headers = {}, signal } = {}) {
  const options = { method, signal, headers: { Accept: 'application/json', ...headers } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['Content-Type'] = 'application/json';
  }
  const answer = await fetchSafely(path, options);
  const text = await answer.text();
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    /* no JSON: a proxy's page, say; the status tells */
  }
  if (!answer.ok) {
    const error = new Error(value?.message || `${answer.status} ${answer.statusText}`);
    error.isExpected = true;
    throw error;
  }
  return value;
}

export const get = (path, options) => request('GET', path, options);
export const post = (path, body, options) => request('POST', path, { ...options, body });

/* "?a=1&b=2" of what has a value. */
export function query(values) {
  const pairs = Object.entries(values).filter(([, v]) => v !== undefined && v !== null && v !== '');
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs)}`;
}

/* The newest rows of a collection. */
export async function list(collection, { filter = {}, limit = 1000, signal } = {}) {
  const answer = await get(`${API}/${collection}/${query(filter)}`, {
    signal,
    headers: limit ? { 'X-Limit': String(limit) } : {},
  });
  return answer.result;
}

/* Flat rows (rest_view_*.c) and whatever stands beside them. */
export const view = (name, values, signal) => get(`${API}/views/${name}${query(values)}`, { signal });
