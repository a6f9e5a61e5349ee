/**
 * jsdom, with what JupyterLab expects of a browser and jsdom lacks.
 * It cannot paint, so BokehJS does not run in it: unit tests mock the module that imports it, and
 * ui-tests/ look at the real one.
 */
import { TestEnvironment } from 'jest-environment-jsdom';

class NoObserver {
  observe(): void {
    // Nothing has a size here, so there is nothing to tell.
  }
  unobserve(): void {
    // Likewise.
  }
  disconnect(): void {
    // Likewise.
  }
}

export default class BrowserEnvironment extends TestEnvironment {
  override async setup(): Promise<void> {
    await super.setup();
    const { MouseEvent, navigator } = this.global;
    Object.defineProperty(navigator, 'clipboard', { value: {} });
    Object.assign(this.global, {
      DragEvent: class extends MouseEvent {},
      IntersectionObserver: NoObserver,
      ResizeObserver: NoObserver,
      // Node's own, which jest hides from the simulated browser.
      Headers,
      Request,
      Response,
      TextDecoder,
      TextEncoder,
      fetch,
      structuredClone,
      matchMedia: () => ({
        matches: false,
        addEventListener: () => undefined,
        removeEventListener: () => undefined
      })
    });
  }
}
