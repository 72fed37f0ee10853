// The output of an attempt, followed while it grows. Only its end is kept on the page.

import { el } from './dom.js';
import { output } from './server.js';

/** The most bytes shown. */
const SHOWN_BYTES = 128 * 1024;
const WAIT_SECONDS = 20;
const AGAIN_MS = 2000;

/** Shows and follows one task's output. */
export class Output {
  constructor(id) {
    this.id = id;
    this.stream = 'stdout';
    this.text = el('pre', { tabindex: '0', 'aria-label': 'Output' });
    this.note = el('small', { role: 'status' });
    this.element = el('section', { class: 'card output' },
      el('div', { class: 'title' }, el('h2', {}, 'Output'),
        el('span', { class: 'chips' }, this.tab('stdout', 'standard output'), this.tab('stderr', 'standard error'))),
      this.text, this.note);
    this.note.textContent = 'nothing written yet';
  }

  tab(stream, label) {
    return el('button', { class: stream === this.stream ? 'chip on' : 'chip', 'data-stream': stream,
      onclick: () => this.choose(stream) }, label);
  }

  choose(stream) {
    this.stream = stream;
    for (const tab of this.element.querySelectorAll('[data-stream]')) {
      tab.classList.toggle('on', tab.dataset.stream === stream);
    }
    this.restart();
  }

  /** Begins to follow when there is an attempt; begins anew when there is another one. */
  follow(task) {
    const attempt = task.attempts.at(-1)?.attempt;
    if (attempt === undefined || attempt === this.attempt) return;
    this.attempt = attempt;
    this.restart();
  }

  restart() {
    this.close();
    if (this.attempt === undefined) return;
    this.text.textContent = '';
    this.note.textContent = '';
    this.abort = new AbortController();
    this.run(this.abort.signal);
  }

  async run(signal) {
    const path = `/v1/tasks/${this.id}/logs/${this.stream}?attempt=${this.attempt}`;
    const decoder = new TextDecoder();
    let offset = null;
    while (!signal.aborted) {
      try {
        if (offset === null) {
          const { total } = await output(`${path}&offset=${Number.MAX_SAFE_INTEGER}`, signal);
          offset = Math.max(0, total - SHOWN_BYTES);
          if (offset > 0) this.note.textContent = `the last ${SHOWN_BYTES / 1024} KiB; "apportion logs ${this.id}" has all`;
        }
        const piece = await output(`${path}&offset=${offset}&wait_seconds=${WAIT_SECONDS}`, signal);
        offset += piece.bytes.length;
        this.add(decoder.decode(piece.bytes, { stream: true }));
        if (piece.ended) {
          if (!this.text.textContent) this.note.textContent = 'nothing was written';
          return;
        }
      } catch (error) {
        if (signal.aborted) return;
        this.note.textContent = error.message;
        if (error.status === 404) return;
        await new Promise((resolve) => { setTimeout(resolve, AGAIN_MS); });
      }
    }
  }

  add(text) {
    if (!text) return;
    const isAtEnd = this.text.scrollTop + this.text.clientHeight >= this.text.scrollHeight - 20;
    this.text.textContent = (this.text.textContent + text).slice(-SHOWN_BYTES);
    if (isAtEnd) this.text.scrollTop = this.text.scrollHeight;
  }

  close() {
    this.abort?.abort();
  }
}
