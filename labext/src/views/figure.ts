/**
 * A Bokeh figure in the page, drawn natively in the colours of the theme. It knows sources and columns,
 * and nothing of clusters.
 *
 * Two ways lead colours into it. Axes, grids and titles read --bk-* variables when they paint (see
 * views.css). What glyphs draw does not: such models carry tags `role:property`, and the colours of
 * the roles are the --cellspan-ROLE variables of the page.
 *
 * A source may have a column `height_px`: how much of the figure's height is in use. It is handed to the
 * stylesheet, which may cut off the rest.
 */
import type { ViewColumns } from '../tokens';

/** What is used of BokehJS here: its own types are not strict enough for our compiler settings. */
interface IModel {
  /** Of sources alone. */
  readonly data?: unknown;
  readonly tags: readonly unknown[];
  readonly properties: object;
  setv(values: Record<string, unknown>): void;
}

interface IDocument {
  readonly all_models: Iterable<IModel>;
  get_model_by_name(name: string): (IModel & { data: unknown }) | null;
}

interface IView {
  readonly model: { readonly document: IDocument | null };
  request_paint?(): void;
  request_repaint?(): void;
  invalidate_layout?(): void;
}

interface IViews {
  readonly roots: Iterable<IView>;
  clear(): void;
}

const ROLES = ['ink', 'muted', 'rule'] as const;

export class Figure {
  private constructor(
    private readonly node: HTMLElement,
    private readonly views: IViews
  ) {}

  /** Draw an item of the server into `node`, which must be attached. */
  static async draw(item: unknown, node: HTMLElement): Promise<Figure> {
    const { embed } = await import('./bokeh');
    const views = await embed.embed_item(item as Parameters<typeof embed.embed_item>[0], node);
    const figure = new Figure(node, views as unknown as IViews);
    figure.tellHeight();
    figure.repaint();
    return figure;
  }

  /** Replace what the sources hold. */
  show(columns: ViewColumns): void {
    for (const document of this.documents()) {
      for (const [name, data] of Object.entries(columns)) {
        const source = document.get_model_by_name(name);
        if (source) {
          source.data = data;
        }
      }
    }
    this.tellHeight();
  }

  /** Take the colours of the page again, and paint. */
  repaint(): void {
    const style = getComputedStyle(this.node);
    for (const document of this.documents()) {
      for (const model of document.all_models) {
        for (const tag of model.tags) {
          const [role, property] = String(tag).split(':');
          if (ROLES.some(known => known === role) && property && property in model.properties) {
            model.setv({ [property]: style.getPropertyValue(`--cellspan-${role}`).trim() });
          }
        }
      }
    }
    for (const view of this.views.roots) {
      view.request_paint?.();
      view.request_repaint?.();
    }
  }

  dispose(): void {
    this.views.clear();
  }

  private tellHeight(): void {
    for (const document of this.documents()) {
      for (const { data } of document.all_models) {
        const height = (data as { height_px?: readonly number[] } | undefined)?.height_px?.at(0);
        if (height !== undefined) {
          this.node.style.setProperty('--cellspan-figure-height', `${String(height)}px`);
        }
      }
    }
  }

  private documents(): IDocument[] {
    return [...this.views.roots]
      .map(view => view.model.document)
      .filter(document => document !== null);
  }
}
