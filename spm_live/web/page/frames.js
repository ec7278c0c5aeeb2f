// The frames that the page knows of: summaries, newest first, without holes.

export class FrameList {
  constructor() {
    this.all = [];
    this.complete = false; // the oldest frame of the store is among them
  }

  get newest() {
    return this.all[0] ?? null;
  }

  get oldest() {
    return this.all[this.all.length - 1] ?? null;
  }

  indexOf(id) {
    return this.all.findIndex((frame) => frame.id === id);
  }

  /**
   * Take over the newest frames of a snapshot. What is known further back stays if it joins on without a hole and is
   * of the same store; returns whether it does.
   */
  resync(frames, limit) {
    const before = new Map(this.all.map((frame) => [frame.id, frame]));
    const same = frames.every((frame) => (before.get(frame.id) ?? frame).sha256 === frame.sha256);
    const last = frames[frames.length - 1];
    const joins = same && last !== undefined && before.has(last.id);
    this.all = joins ? [...frames, ...this.all.filter((frame) => frame.id < last.id)] : [...frames];
    this.complete = joins ? this.complete : frames.length < limit;
    return joins;
  }

  /** Add one new frame in its place; shorter versions of the same scan make room for it. */
  add(frame) {
    this.all = this.all.filter((other) => other.id !== frame.id && !frame.supersedes.includes(other.id));
    const place = this.all.findIndex((other) => other.id < frame.id);
    this.all.splice(place < 0 ? this.all.length : place, 0, frame);
  }

  /** Add a page of older ones. */
  extend(frames, limit) {
    const oldest = this.oldest?.id ?? Infinity;
    this.all.push(...frames.filter((frame) => frame.id < oldest));
    this.complete = frames.length < limit;
  }

  /** Forget the oldest beyond a number; they can be loaded again. */
  trim(most) {
    if (this.all.length <= most) return false;
    this.all.length = most;
    this.complete = false;
    return true;
  }
}
