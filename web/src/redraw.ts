// Charts to draw again when light becomes dark.

const redraws = new Set<() => void>();

export function onTheme(redraw: () => void): void {
  redraws.add(redraw);
}
/** Pages are replaced whole: what was drawn before is forgotten. */
export function forget(): void {
  redraws.clear();
}
export function redrawAll(): void {
  for (const redraw of redraws) redraw();
}
