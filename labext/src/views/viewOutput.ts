/**
 * A view in a notebook's output. The output itself carries the picture with its data, so a saved notebook
 * shows it with no kernel and no cluster; while that very cluster (by name and id) is there, the
 * picture is live, over the same socket as the panes. No kernel takes part.
 */
import type { IRenderMime } from '@jupyterlab/rendermime';
import type { ICellspanModel, Translations } from '../tokens';
import { FigureWidget, type INote } from './figureWidget';

export const VIEW_MIME = 'application/vnd.cellspan.view.v1+json';

/** What kernel_ext/views.py writes. */
interface IViewData {
  readonly cluster: string;
  readonly id: string;
  readonly view: string;
  readonly title: string;
  /** When the picture was taken, in unix seconds. */
  readonly time: number;
  /** Bokeh's json_item as text: in a saved notebook objects have their keys sorted, and its order counts. */
  readonly item: string;
}

export class ViewOutput extends FigureWidget implements IRenderMime.IRenderer {
  constructor(model: ICellspanModel, trans: Translations) {
    super(model, trans);
    this.addClass('cellspan-mod-output');
  }

  renderModel(output: IRenderMime.IMimeModel): Promise<void> {
    const data = output.data[VIEW_MIME] as unknown as IViewData;
    this.data = data;
    const { cluster, view } = data;
    return this.setSubject({ cluster, view, getItem: () => JSON.parse(data.item) as unknown });
  }

  protected override canWatch(): boolean {
    const { data, model } = this;
    return data !== null && model.find(data.cluster)?.id === data.id;
  }

  protected override describe(): INote {
    const { data, model, trans } = this;
    if (!data) {
      return { text: '', isStale: false };
    }
    const { cluster, title, time } = data;
    const isKnown = model.link === 'live' || model.link === 'polling';
    if (!isKnown || this.canWatch()) {
      return { text: trans.__('%1 of cluster “%2”', title, cluster), isStale: false };
    }
    const taken = new Date(this.updated ?? time * 1000).toLocaleString();
    const text = trans.__('%1 of cluster “%2”, which is gone: as of %3', title, cluster, taken);
    return { text, isStale: false }; // it is a record, and to be read as well as ever
  }

  private data: IViewData | null = null;
}
