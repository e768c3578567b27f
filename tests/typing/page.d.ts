// What the page's modules may take for granted, beyond TypeScript's types of the DOM: all elements are those of HTML.

interface Element {
  focus(options?: FocusOptions): void;
  click(): void;
  readonly dataset: DOMStringMap;
  disabled?: boolean;
}

interface EventTarget {
  closest(selectors: string): any;
  matches(selectors: string): boolean;
}

interface Node {
  contains(other: EventTarget): boolean;
  data?: any; // of a text
}
