// Calls of the HTTP API.

/** What the server said when it could not do it. */
export class ServerError extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the server answered with status ${status}`);
    this.status = status;
    this.code = body?.error?.code;
  }
}

/** Where the token is kept: as long as this tab is open, and no longer. */
const KEPT = 'apportion-token';

/** Asks for a token, once however many calls wait for it. */
let asking = null;

/** Keeps what asks for a token, given the reason; it resolves with the token, or with `null` for none. */
export const door = { ask: async () => null };

function request(path, options) {
  const token = sessionStorage.getItem(KEPT);
  const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  return fetch(path, { ...options, headers });
}

/** Calls the server; where it asks for a token, asks the person for one and calls again. */
export async function call(path, options = {}) {
  const used = sessionStorage.getItem(KEPT);
  const response = await request(path, options);
  if (response.status !== 401) return answered(response);
  const body = await response.json().catch(() => null);
  if (sessionStorage.getItem(KEPT) === used) {
    asking ??= door.ask(body?.error).finally(() => { asking = null; });
    const token = await asking;
    if (!token) throw new ServerError(response.status, body);
    sessionStorage.setItem(KEPT, token);
  }
  return answered(await request(path, options));
}

async function answered(response) {
  if (response.ok) return response;
  throw new ServerError(response.status, await response.json().catch(() => null));
}

/** GET of JSON. */
export async function get(path, signal) {
  return (await call(path, { signal, headers: { accept: 'application/json' } })).json();
}

/** POST of JSON. */
export async function post(path, body = {}) {
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return (await call(path, options)).json();
}

/** A piece of an output: its bytes, where it ends, and whether more may come. */
export async function output(path, signal) {
  const response = await call(path, { signal });
  return {
    bytes: new Uint8Array(await response.arrayBuffer()),
    total: Number(response.headers.get('apportion-log-total')),
    ended: response.headers.get('apportion-log-ended') === 'true',
    attempt: Number(response.headers.get('apportion-attempt')),
  };
}
