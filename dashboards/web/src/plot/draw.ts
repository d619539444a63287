// What is painted onto a panel's canvas besides its series: periods of trouble, marks, stall ticks, the limit, the forecast.

import type uPlot from "uplot";
import type { Mark, Period } from "../events";

export type Theme = (property: string) => string;

/** Everything that is painted, replaced once a second. */
export interface Scene {
  /** Now, seconds. */
  at: number;
  marks: Mark[];
  periods: Period[];
  ticks: number[];
  fds: { at: number; live: number; limit: number | null; eta: [number, number] | null } | null;
}

export const EMPTY: Scene = { at: 0, marks: [], periods: [], ticks: [], fds: null };

export const MARK_COLOUR: Record<Mark["kind"], string> = {
  onset: "--muted",
  detected: "--bad",
  named: "--warn",
  action: "--act",
  recovered: "--good",
};

function clipped(u: uPlot, paint: (ctx: CanvasRenderingContext2D, px: number) => void): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  paint(ctx, window.devicePixelRatio);
  ctx.restore();
}

/** Below the series. */
export function background(u: uPlot, scene: Scene, theme: Theme): void {
  clipped(u, (ctx) => {
    ctx.fillStyle = theme("--trouble");
    for (const period of scene.periods) {
      const from = u.valToPos(period.from, "x", true);
      const to = u.valToPos(period.to ?? scene.at, "x", true);
      ctx.fillRect(from, u.bbox.top, Math.max(to - from, 1), u.bbox.height);
    }
  });
}

/** Above the series. */
export function foreground(u: uPlot, scene: Scene, theme: Theme): void {
  clipped(u, (ctx, px) => {
    for (const mark of scene.marks) {
      ctx.strokeStyle = theme(MARK_COLOUR[mark.kind]);
      ctx.lineWidth = px;
      ctx.setLineDash(mark.kind === "onset" ? [2 * px, 3 * px] : []);
      const x = Math.round(u.valToPos(mark.t, "x", true)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(x, u.bbox.top);
      ctx.lineTo(x, u.bbox.top + u.bbox.height);
      ctx.stroke();
    }
    ctx.setLineDash([]);
    ctx.fillStyle = theme("--bad");
    for (const t of scene.ticks) ctx.fillRect(u.valToPos(t, "x", true) - px, u.bbox.top, 2 * px, 9 * px);
    if (scene.fds !== null) descriptors(u, scene.fds, theme, ctx, px);
  });
}

function descriptors(
  u: uPlot, fds: NonNullable<Scene["fds"]>, theme: Theme, ctx: CanvasRenderingContext2D, px: number,
): void {
  if (fds.limit === null) return;
  const right = u.bbox.left + u.bbox.width;
  const y = u.valToPos(fds.limit, "y", true);
  if (y < u.bbox.top - 1) return;
  ctx.strokeStyle = theme("--bad");
  ctx.lineWidth = px;
  ctx.setLineDash([5 * px, 4 * px]);
  ctx.beginPath();
  ctx.moveTo(u.bbox.left, y);
  ctx.lineTo(right, y);
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.fillStyle = theme("--bad-text");
  ctx.font = `${11 * px}px ${theme("--font")}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  ctx.fillText("limit", u.bbox.left + 6 * px, y + 4 * px);
  if (fds.eta === null) return;
  const [x, level] = [u.valToPos(fds.at, "x", true), u.valToPos(fds.live, "y", true)];
  const [early, late] = fds.eta.map((seconds) => u.valToPos(fds.at + seconds, "x", true)) as [number, number];
  ctx.fillStyle = theme("--forecast");
  ctx.beginPath();
  ctx.moveTo(x, level);
  ctx.lineTo(early, y);
  ctx.lineTo(late, y);
  ctx.closePath();
  ctx.fill();
  ctx.strokeStyle = theme("--bad");
  ctx.setLineDash([2 * px, 3 * px]);
  for (const end of [early, late]) {
    ctx.beginPath();
    ctx.moveTo(x, level);
    ctx.lineTo(end, y);
    ctx.stroke();
  }
  ctx.setLineDash([]);
}
