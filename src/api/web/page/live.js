// Keeps the page up to date: server-sent events say when to look again, a slow clock catches what they don't tell.

import { call } from './server.js';

const LOOK_AT_MOST_EVERY_MS = 1000;
const LOOK_AT_LEAST_EVERY_MS = 5000;
/** With more events a second than this, looking at each one costs more than it tells. */
const EVENTS_PER_SECOND_MAX = 2000;
const PAUSE_MS = 10000;
/** A connection that broke is tried again after so long. */
const AGAIN_MS = 3000;

/** Reads server-sent events, each as its name and its data. `EventSource` would do that, but shows no token. */
async function* events(path, signal) {
  const response = await call(path, { signal, headers: { accept: 'text/event-stream' } });
  yield ['open', ''];
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (text + value).split('\n\n');
    text = parts.pop();
    for (const part of parts) {
      const field = (name) => part.split('\n').find((line) => line.startsWith(name))?.slice(name.length) ?? '';
      const name = field('event: ');
      if (name) yield [name, field('data: ')];
    }
  }
}

/** Calls `look` when something of what `concerns` may have changed, and `tell` with how the connection is. */
export class Live {
  constructor(look, tell) {
    this.look = look;
    this.tell = tell;
    this.concerns = () => true;
    this.dirty = false;
    this.looked = 0;
    this.count = 0;
    this.connect();
    setInterval(() => this.tick(), 250);
    setInterval(() => this.limit(), 1000);
    document.addEventListener('visibilitychange', () => { this.dirty = true; });
  }

  connect() {
    this.source = new AbortController();
    this.read(this.source.signal);
  }

  async read(signal) {
    try {
      for await (const [name, data] of events('/v1/events', signal)) {
        if (name === 'open') this.tell('live', 'live');
        if (name !== 'task') { this.dirty = true; continue; }
        this.count += 1;
        if (!this.dirty) this.dirty = this.concerns(JSON.parse(data));
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401 || error.status === 403) {
        this.tell('lost', error.message);
        return;
      }
    }
    this.tell('lost', 'connection lost, trying again');
    setTimeout(() => this.connect(), AGAIN_MS);
  }

  limit() {
    if (this.count > EVENTS_PER_SECOND_MAX) {
      this.source.abort();
      this.tell('slow', 'very busy: updated every few seconds');
      setTimeout(() => this.connect(), PAUSE_MS);
    }
    this.count = 0;
  }

  tick() {
    const age = Date.now() - this.looked;
    if (document.hidden || age < LOOK_AT_MOST_EVERY_MS) return;
    if (!this.dirty && age < LOOK_AT_LEAST_EVERY_MS) return;
    this.now();
  }

  now() {
    this.dirty = false;
    this.looked = Date.now();
    this.look();
  }
}
