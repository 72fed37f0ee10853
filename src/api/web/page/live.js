// Keeps the page up to date: server-sent events say when to look again, a slow clock catches what they don't tell.

const LOOK_AT_MOST_EVERY_MS = 1000;
const LOOK_AT_LEAST_EVERY_MS = 5000;
/** With more events a second than this, looking at each one costs more than it tells. */
const EVENTS_PER_SECOND_MAX = 2000;
const PAUSE_MS = 10000;

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
    this.source = new EventSource('/v1/events');
    this.source.onopen = () => { this.dirty = true; this.tell('live', 'live'); };
    this.source.onerror = () => this.tell('lost', 'connection lost, trying again');
    this.source.addEventListener('lagged', () => { this.dirty = true; });
    this.source.addEventListener('task', (event) => {
      this.count += 1;
      if (!this.dirty) this.dirty = this.concerns(JSON.parse(event.data));
    });
  }

  limit() {
    if (this.count > EVENTS_PER_SECOND_MAX) {
      this.source.close();
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
