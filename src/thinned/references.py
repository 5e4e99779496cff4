"""BibTeX of the papers that the layers come from; each layer names its own as `reference`."""

SRIVASTAVA_2014 = """@article{srivastava2014dropout,
  title = {Dropout: a simple way to prevent neural networks from overfitting},
  author = {Srivastava, Nitish and Hinton, Geoffrey and Krizhevsky, Alex and Sutskever, Ilya and Salakhutdinov, Ruslan},
  journal = {Journal of Machine Learning Research},
  volume = {15},
  pages = {1929--1958},
  year = {2014}
}"""

TOMPSON_2015 = """@inproceedings{tompson2015efficient,
  title = {Efficient object localization using convolutional networks},
  author = {Tompson, Jonathan and Goroshin, Ross and Jain, Arjun and LeCun, Yann and Bregler, Christoph},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2015}
}"""

WAN_2013 = """@inproceedings{wan2013regularization,
  title = {Regularization of neural networks using {DropConnect}},
  author = {Wan, Li and Zeiler, Matthew and Zhang, Sixin and LeCun, Yann and Fergus, Rob},
  booktitle = {International Conference on Machine Learning},
  year = {2013}
}"""

MERITY_2018 = """@inproceedings{merity2018regularizing,
  title = {Regularizing and optimizing {LSTM} language models},
  author = {Merity, Stephen and Keskar, Nitish Shirish and Socher, Richard},
  booktitle = {International Conference on Learning Representations},
  year = {2018}
}"""

KRUEGER_2017 = """@inproceedings{krueger2017zoneout,
  title = {Zoneout: regularizing {RNN}s by randomly preserving hidden activations},
  author = {Krueger, David and Maharaj, Tegan and Kram{\\'a}r, J{\\'a}nos and Pezeshki, Mohammad and Ballas, Nicolas
    and Ke, Nan Rosemary and Goyal, Anirudh and Bengio, Yoshua and Courville, Aaron and Pal, Christopher},
  booktitle = {International Conference on Learning Representations},
  year = {2017}
}"""

GAL_2016_RECURRENT = """@inproceedings{gal2016theoretically,
  title = {A theoretically grounded application of dropout in recurrent neural networks},
  author = {Gal, Yarin and Ghahramani, Zoubin},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2016}
}"""

GAL_2017_CONCRETE = """@inproceedings{gal2017concrete,
  title = {Concrete dropout},
  author = {Gal, Yarin and Hron, Jiri and Kendall, Alex},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2017}
}"""

KINGMA_2015 = """@inproceedings{kingma2015variational,
  title = {Variational dropout and the local reparameterization trick},
  author = {Kingma, Diederik P. and Salimans, Tim and Welling, Max},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2015}
}"""

MOLCHANOV_2017 = """@inproceedings{molchanov2017variational,
  title = {Variational dropout sparsifies deep neural networks},
  author = {Molchanov, Dmitry and Ashukha, Arsenii and Vetrov, Dmitry},
  booktitle = {International Conference on Machine Learning},
  year = {2017}
}"""

VASWANI_2017 = """@inproceedings{vaswani2017attention,
  title = {Attention is all you need},
  author = {Vaswani, Ashish and Shazeer, Noam and Parmar, Niki and Uszkoreit, Jakob and Jones, Llion and Gomez, Aidan N.
    and Kaiser, {\\L}ukasz and Polosukhin, Illia},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2017}
}"""
