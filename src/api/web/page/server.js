// Calls of the HTTP API.

/** What the server said when it could not do it. */
export class ServerError extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the server answered with status ${status}`);
    this.status = status;
    this.code = body?.error?.code;
  }
}

async function answered(response) {
  if (response.ok) return response;
  throw new ServerError(response.status, await response.json().catch(() => null));
}

/** GET of JSON. */
export async function get(path, signal) {
  return (await answered(await fetch(path, { signal, headers: { accept: 'application/json' } }))).json();
}

/** POST of JSON. */
export async function post(path, body = {}) {
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return (await answered(await fetch(path, options))).json();
}

/** A piece of an output: its bytes, where it ends, and whether more may come. */
export async function output(path, signal) {
  const response = await answered(await fetch(path, { signal }));
  return {
    bytes: new Uint8Array(await response.arrayBuffer()),
    total: Number(response.headers.get('apportion-log-total')),
    ended: response.headers.get('apportion-log-ended') === 'true',
    attempt: Number(response.headers.get('apportion-attempt')),
  };
}
