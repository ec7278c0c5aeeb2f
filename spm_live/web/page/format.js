// Numbers, lengths and times as a physicist writes them. What is not known (null) is an en dash, never 0.

export const UNKNOWN = "–";

const PREFIXES = [
  [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"], [1e-12, "p"], [1e-15, "f"],
];
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

const known = (value) => typeof value === "number" && Number.isFinite(value);
const minus = (text) => text.replace("-", "−");

/** A count with separators between thousands. */
export function count(value) {
  return known(value) ? whole.format(value) : UNKNOWN;
}

/** Three significant digits, without exponent where a person would not write one. */
export function number(value, digits = 3) {
  if (!known(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size !== 0 && size < 1e-3) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    return minus(`${mantissa} × 10`) + superscript(Number(power));
  }
  if (size >= 10 ** digits) return minus(whole.format(value));
  return minus(String(Number(value.toPrecision(digits))));
}

function superscript(power) {
  const digits = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  return (power < 0 ? "⁻" : "") + [...String(Math.abs(power))].map((digit) => digits[digit]).join("");
}

const fixed = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** A coordinate in nm, always to 10 pm. */
export function place(nm) {
  return known(nm) ? minus(fixed.format(nm)) : UNKNOWN;
}

/** A value in an SI unit, with the prefix that leaves one to three digits before the point. */
export function si(value, unit) {
  if (!known(value)) return UNKNOWN;
  if (!unit || unit === "1") return number(value);
  if (value === 0) return `0 ${unit}`;
  const size = Math.abs(value) * (1 + 1e-9); // so that 999.9999999 pA is written as 1 nA
  const [factor, prefix] = PREFIXES.find(([factor]) => size >= factor) ?? PREFIXES[PREFIXES.length - 1];
  return `${number(value / factor)} ${prefix}${unit}`;
}

/** A length given in nm. */
export function length(nm) {
  return si(known(nm) ? nm * 1e-9 : nm, "m");
}

/** A value with its statistical error, both to the same place: the second digit of the error. */
export function withError(value, error) {
  if (!known(value) || !known(error) || error <= 0) return number(value);
  const decimals = Math.max(0, 1 - Math.floor(Math.log10(error)));
  if (decimals > 6 || Math.abs(value) >= 1e4) return `${number(value)} ± ${number(error, 2)}`;
  return minus(`${value.toFixed(decimals)} ± ${error.toFixed(decimals)}`);
}

/** A part of one, in per cent. */
export function percent(part) {
  if (!known(part)) return UNKNOWN;
  const value = part * 100;
  if (value === 0) return "0 %";
  return `${Math.abs(value) < 10 ? number(value, 2) : value.toFixed(1)} %`;
}

const pad = (value) => String(value).padStart(2, "0");

const dayOf = (time) => `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())}`;

/** Day and time to the second, on this computer's clock. */
export function exact(iso) {
  const time = iso ? new Date(iso) : null;
  if (time === null || Number.isNaN(time.getTime())) return UNKNOWN;
  return `${dayOf(time)} ${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}`;
}

/** For narrow places: the time alone if it is of today, else the day and the time to the minute. */
export function when(iso, now = new Date()) {
  const text = exact(iso);
  if (text === UNKNOWN) return UNKNOWN;
  return text.startsWith(dayOf(now)) ? text.slice(11) : text.slice(0, 16);
}

/** How long ago, in the largest unit that says enough. */
export function ago(iso, now = new Date()) {
  const seconds = iso ? (now - new Date(iso)) / 1000 : NaN;
  if (!known(seconds)) return UNKNOWN;
  if (seconds < 1) return "just now";
  return `${span(seconds)} ago`;
}

/** A length of time. */
export function span(seconds) {
  if (!known(seconds)) return UNKNOWN;
  if (seconds < 10) return `${number(seconds, 2)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

/** "1 frame", "2 frames". */
export function plural(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}
