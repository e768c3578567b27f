// Keeps a scroller at its end.

/**
 * While the scroller is at its end, scroll along when the content grows: a formula that is drawn, a picture.
 *
 * Returns a function that looks where it is, for content that was replaced without scrolling.
 */
export function keepAtEnd(scroller, content) {
  let isAtEnd = true;
  const look = () => (isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 2);
  scroller.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(() => isAtEnd && scroller.scrollTo({ top: scroller.scrollHeight })).observe(content);
  return look;
}
