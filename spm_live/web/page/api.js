// Questions to the daemon.

/** Raised where the daemon no longer knows this browser. */
export class TokenError extends Error {}

async function ask(path) {
  const answer = await fetch(path, { credentials: "same-origin" });
  if (answer.status === 401) throw new TokenError("the token is no longer valid");
  if (!answer.ok) throw new Error(`${path}: the daemon answered ${answer.status}`);
  return answer.json();
}

const paged = (path, limit, before) => ask(`${path}?limit=${limit}${before ? `&before=${before}` : ""}`);

export const readStatus = () => ask("/api/status");
export const readTotals = () => ask("/api/totals");
export const readFrame = (id) => ask(`/api/frames/${id}`);
export const readLinks = (id) => ask(`/api/frames/${id}/links`);
export const readFrames = async (limit, before) => (await paged("/api/frames", limit, before)).frames;
export const readFaults = async (limit, before) => (await paged("/api/faults", limit, before)).faults;

// Another store counts from 1 again: the address names the content too, so that it may be cached for good.
const content = (frame) => encodeURIComponent(`${frame.sha256.slice(0, 12)}-${frame.processed}`);

export const previewAddress = (frame) => `/api/frames/${frame.id}/preview.png?v=${content(frame)}`;
export const livePreviewAddress = (scan) => `/api/live/${encodeURIComponent(scan.key)}/preview.png?revision=${scan.revision}`;
export const thumbnailAddress = (frame) => `/api/frames/${frame.id}/thumbnail.png?v=${content(frame)}`;
