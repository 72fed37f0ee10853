// Numbers, amounts and times for people.

const BINARY = ['MiB', 'GiB', 'TiB', 'PiB'];

/** An amount of a resource; mem and disk are MiB. */
export function amount(resource, value) {
  if (resource !== 'mem' && resource !== 'disk') return number(value);
  let unit = 0;
  while (value >= 1024 && unit < BINARY.length - 1) { value /= 1024; unit += 1; }
  return `${number(value)} ${BINARY[unit]}`;
}

/** Several amounts: "cpus 2, mem 4 GiB". */
export function amounts(map) {
  const parts = Object.entries(map ?? {}).filter(([, value]) => value !== 0)
    .map(([name, value]) => `${name} ${amount(name, value)}`);
  return parts.length ? parts.join(', ') : '–';
}

/** A number with at most three digits behind the point. */
export function number(value) {
  return Number(value).toLocaleString('en', { maximumFractionDigits: 3 });
}

/** A share as a percentage. */
export function percent(share) {
  return `${(share * 100).toFixed(share !== 0 && share < 0.1 ? 1 : 0)} %`;
}

/** Bytes. */
export function bytes(count) {
  if (count === null || count === undefined) return '–';
  return count < 1024 ? `${count} B` : count < 1048576 ? `${number((count / 1024).toFixed(1))} KiB`
    : amount('mem', count / 1048576);
}

/** Seconds: "850 ms", "12 s", "3 m 5 s", "2 h 10 m". */
export function seconds(value) {
  if (value === null || value === undefined) return '–';
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${number(value.toFixed(1))} s`;
  if (value < 3600) return `${Math.floor(value / 60)} m ${Math.floor(value % 60)} s`;
  if (value < 172800) return `${Math.floor(value / 3600)} h ${Math.floor(value % 3600 / 60)} m`;
  return `${Math.floor(value / 86400)} d ${Math.floor(value % 86400 / 3600)} h`;
}

/** A point in time, with how long ago it was. */
export function when(text) {
  if (!text) return '–';
  const at = new Date(text);
  const ago = (Date.now() - at.getTime()) / 1000;
  const local = at.toLocaleString([], { dateStyle: 'medium', timeStyle: 'medium' });
  return ago >= 0 ? `${local} (${seconds(ago)} ago)` : `${local} (in ${seconds(-ago)})`;
}

/** The same, short: only how long ago. */
export function ago(text) {
  return text ? seconds(Math.max(0, (Date.now() - new Date(text).getTime()) / 1000)) : '–';
}

/** What a task runs, in one line. */
export function command(run) {
  if (run?.command !== undefined) return run.command;
  if (run?.argv !== undefined) return run.argv.join(' ');
  return Object.keys(run ?? {})[0] ?? '';
}
