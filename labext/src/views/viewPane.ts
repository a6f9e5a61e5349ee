/**
 * One view of one cluster, in the main area. It is bound to the cluster's name: when the cluster is gone
 * it says so and keeps its last picture, and it goes on when one of that name is back. Nothing is sent
 * to a pane that nobody sees.
 */
import type { ICellspanModel, Translations } from '../tokens';
import { FigureWidget, type INote } from './figureWidget';

export interface IViewPaneOptions {
  readonly model: ICellspanModel;
  readonly cluster: string;
  readonly view: string;
  readonly trans: Translations;
}

export class ViewPane extends FigureWidget {
  constructor({ model, cluster, view, trans }: IViewPaneOptions) {
    super(model, trans);
    this.cluster = cluster;
    this.view = view;
    void this.setSubject({ cluster, view, getItem: () => model.viewItem(view) });
  }

  readonly cluster: string;
  readonly view: string;

  protected override canWatch(): boolean {
    return true; // the server waits for a cluster of that name
  }

  protected override describe(): INote {
    const { model, cluster, trans } = this;
    const found = model.find(cluster);
    const isKnown = model.link === 'live' || model.link === 'polling';
    let text = '';
    if (found?.state === 'starting') {
      text = trans.__('Cluster “%1” is starting…', cluster);
    } else if (found?.state === 'failed') {
      text = trans.__('Cluster “%1” has failed.', cluster);
    } else if (!found && isKnown) {
      text = trans.__(
        'Cluster “%1” is gone. This view goes on when a cluster of that name is back.',
        cluster
      );
    }
    return { text, isStale: text !== '' };
  }
}
