// Elements without markup. Invariant: text from outside enters the page as text nodes only; nothing here or elsewhere in
// the workbench parses HTML, and styles are set through the CSSOM, which the page's Content-Security-Policy allows.

type Child = Node | string | null;
type Attributes = Record<string, string | number | boolean | null>;

/** An element; `class` and other attributes as given, children as nodes or text. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Attributes = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    // In `aria-*` and `data-*` false is a value; elsewhere it is an attribute's absence.
    const stated = name.startsWith("aria-") || name.startsWith("data-");
    if (value === null || (value === false && !stated)) continue;
    element.setAttribute(name, value === true && !stated ? "" : String(value));
  }
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

/** Sets text only where it changed, so that selections and screen readers are left in peace. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Puts exactly these children in place. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child): child is Node | string => child !== null));
}

/** A button that copies a text and says so. */
export function copyButton(text: string, shown: string, label: string): HTMLButtonElement {
  const button = h("button", { type: "button", class: "copy", title: "Copy", "aria-label": label }, shown);
  button.addEventListener("click", () => {
    navigator.clipboard.writeText(text).then(
      () => flash(button, "copied"),
      () => flash(button, "refused"),
    );
  });
  return button;
}

function flash(button: HTMLElement, state: string): void {
  button.dataset["state"] = state;
  announce(state === "copied" ? "Copied." : "The browser refused to copy.");
  window.setTimeout(() => delete button.dataset["state"], 1200);
}

const region = (): HTMLElement | null => document.getElementById("announcer");

/** Says something to a screen reader, politely. */
export function announce(text: string): void {
  const place = region();
  if (place !== null) place.textContent = text;
}

/** Keeps one child per key, in order; children that stay keep their focus and state. */
export class Keyed<T> {
  private readonly kept = new Map<string, { element: HTMLElement; update: (item: T) => void }>();

  constructor(
    private readonly place: Element,
    private readonly key: (item: T) => string,
    private readonly create: (item: T) => { element: HTMLElement; update: (item: T) => void },
  ) {}

  show(items: readonly T[]): void {
    const wanted = new Set(items.map(this.key));
    for (const [key, { element }] of this.kept) {
      if (wanted.has(key)) continue;
      element.remove();
      this.kept.delete(key);
    }
    items.forEach((item, index) => {
      const key = this.key(item);
      const entry = this.kept.get(key) ?? this.create(item);
      this.kept.set(key, entry);
      entry.update(item);
      const there = this.place.children[index] ?? null;
      if (there !== entry.element) this.place.insertBefore(entry.element, there);
    });
  }
}
